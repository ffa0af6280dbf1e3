"""The run's state in the window's title: what the training prints stays what it is, and a file gets nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.supervisor.status_line import ShownIncident, ShownRun, line_of
from monitor.supervisor.terminal import GIVE_TITLE_BACK, KEEP_TITLE, TITLE_MAX, TerminalOutput
from tests.harness.night_run import CONSOLE, ROOT, environment_of_home, fresh_home
from tests.harness.supervisor import Terminal

TITLE = re.compile(r"\x1b\]2;([^\x07]*)\x07")
BAR = """
import sys, time
for number in range(1, 71):
    sys.stdout.write(f"\\r{number:3d} %")
    sys.stdout.flush()
    time.sleep(0.1)
print()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


def shown(home: Path, term: str) -> str:
    script = home / "bar.py"
    script.write_text(BAR)
    argv = [*CONSOLE, "run", "--run", "bar", "--port", "0", "--", sys.executable, str(script)]
    terminal = Terminal(argv, environment_of_home(home, TERM=term, PYTHONPATH=str(ROOT)), home)
    try:
        terminal.wait()
        return terminal.read()
    finally:
        terminal.close()


def bar_of(output: str) -> list[int]:
    """What a progress bar has shown, in its order."""
    return [int(number) for number in re.findall(r"\r *(\d+) %", output)]


def test_the_title_says_how_the_run_is_and_the_bar_is_whole(home: Path) -> None:
    output = shown(home, "xterm-256color")
    titles = TITLE.findall(output)
    assert titles
    assert all(title.startswith("bar: ") for title in titles)
    assert output.count(KEEP_TITLE) == output.count(GIVE_TITLE_BACK) == 1
    assert bar_of(TITLE.sub("", output)) == list(range(1, 71))


def test_a_terminal_without_a_title_gets_none(home: Path) -> None:
    output = shown(home, "dumb")
    assert "\x1b]" not in output
    assert KEEP_TITLE not in output
    assert bar_of(output) == list(range(1, 71))


def test_a_file_gets_no_byte(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = TerminalOutput(tmp_path / "log")
    assert not output.has_title
    output.title("x")
    output.restore_title()
    assert capfd.readouterr() == ("", "")


def test_a_title_is_cut_and_moves_no_cursor(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = TerminalOutput(tmp_path / "log")
    output._terminals = {2}
    output.title("x" * (TITLE_MAX + 1))
    output.title("a\x1b[2Jb")
    first, second = TITLE.findall(capfd.readouterr().err)
    assert first == "x" * TITLE_MAX
    assert second == r"a\x1b[2Jb"


def test_a_line_names_what_is_known() -> None:
    assert line_of(ShownRun(state="starting")) == "starting"
    full = ShownRun("train", 4, 50, 120, 823, 2, ShownIncident(1, "given_up"))
    assert line_of(full) == "train, epoch 4/50, batch 120/823, 2 not finite, incident 1 given up"
