"""The run's state in the window's title: what the training prints stays what it is, and a file gets nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.supervisor.status_line import EVERY_S, ShownIncident, ShownRun, line_of
from monitor.supervisor.terminal import GIVE_TITLE_BACK, KEEP_TITLE, TITLE_MAX, TerminalOutput
from tests.harness.night_run import CONSOLE, ROOT, environment_of_home, fresh_home
from tests.harness.supervisor import Terminal

TITLE = re.compile(r"\x1b\]2;([^\x07]*)\x07")
BARS = """
import os, sys, threading, time
from rich.console import Console
from rich.progress import Progress

class Both:
    lock = threading.Lock()  # the copy has the order of the terminal
    encoding = "utf-8"
    def __init__(self, number): self.number = number
    def fileno(self): return self.number
    def isatty(self): return True
    def flush(self): pass
    def write(self, text):
        with self.lock:
            for to in (self.number, copy):
                os.write(to, text.encode())
        return len(text)

copy = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
ends = time.monotonic() + float(sys.argv[2])
with Progress(console=Console(file=Both(1), force_terminal=True, width=60)) as progress:
    task = progress.add_task("\u23f3 \u8a13\u7df4", total=40)
    while time.monotonic() < ends - float(sys.argv[2]) / 2:
        progress.advance(task, 1)
        time.sleep(0.02)
bar, done = Both(2), 0
while time.monotonic() < ends:
    done += 1
    bar.write(f"\\r\u00e9poque: {done:4d} |{'\u2588' * (done % 30):<30}|")  # as tqdm writes
    time.sleep(0.02)
bar.write("\\n")
"""
OURS = re.compile(r"\r\x1b\[Ktrainwarden: [^\n]*\n")


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


def command(home: Path, seconds: float) -> list[str]:
    script = home / "bars.py"
    script.write_text(BARS)
    child = [sys.executable, str(script), str(home / "copy.txt"), str(seconds)]
    return [*CONSOLE, "run", "--run", "bars", "--port", "0", "--", *child]


def shown(home: Path, term: str, seconds: float) -> str:
    terminal = Terminal(command(home, seconds), environment_of_home(home, TERM=term, PYTHONPATH=str(ROOT)), home)
    try:
        assert terminal.wait() == 0
        return terminal.read()
    finally:
        terminal.close()


def written(home: Path) -> str:
    """What the training wrote, as a terminal passes it on."""
    return (home / "copy.txt").read_bytes().decode().replace("\n", "\r\n")


def test_the_title_says_how_the_run_is_and_no_byte_of_the_bars_differs(home: Path) -> None:
    output = shown(home, "xterm-256color", EVERY_S * 1.4)
    titles = TITLE.findall(output)
    assert titles
    assert all(title.startswith("bars: ") for title in titles)
    assert output.count(KEEP_TITLE) == output.count(GIVE_TITLE_BACK) == 1
    rest = OURS.sub("", TITLE.sub("", output).replace(KEEP_TITLE, "").replace(GIVE_TITLE_BACK, ""))
    assert len(written(home)) > 10_000
    assert rest == written(home)


def test_a_terminal_without_a_title_gets_none(home: Path) -> None:
    output = shown(home, "dumb", EVERY_S * 1.4)
    assert "\x1b]" not in output
    assert KEEP_TITLE not in output
    assert OURS.sub("", output) == written(home)


def test_files_get_what_the_training_wrote_and_our_lines_go_to_the_one_of_errors(home: Path) -> None:
    with (home / "out.txt").open("wb") as out, (home / "errors.txt").open("wb") as errors:
        environment = environment_of_home(home, TERM="xterm", PYTHONPATH=str(ROOT))
        done = subprocess.run(
            command(home, 1.0), check=False, env=environment, cwd=home, stdout=out, stderr=errors, timeout=60
        )
    assert done.returncode == 0
    lines = (home / "errors.txt").read_bytes()
    theirs = re.sub(rb"trainwarden: [^\n]*\n", b"", lines)
    assert lines != theirs
    assert (home / "out.txt").read_bytes() + theirs == (home / "copy.txt").read_bytes()


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
