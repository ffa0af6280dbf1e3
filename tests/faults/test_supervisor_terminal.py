"""The training keeps its terminal: real supervisors over real scripts in real pseudo-terminals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.supervisor import Terminal, command, environment_of, eventually, folder_of, no_process_left

COUNTS_SIGNALS = """
import os, signal, sys, time
folder = sys.argv[1]
def note(number, frame):
    with open(os.path.join(folder, signal.Signals(number).name), "a") as file:
        file.write("x")
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGWINCH, note)
print("READY", flush=True)
while True:
    time.sleep(0.05)
"""

PRINTS_ON = """
import sys, time, pathlib
print("READY", flush=True)
go, done = pathlib.Path(sys.argv[1]) / "go", pathlib.Path(sys.argv[1]) / "done"
for batch in range(100000):
    print("batch", batch, flush=True)
    time.sleep(0.02)
    if go.exists():
        break
print("the last batch", flush=True)
done.write_text(str(batch))
"""


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(argv: list[str]) -> Terminal:
        opened.append(Terminal(argv, environment_of(tmp_path / "home", PS1="$ ", HISTFILE="", TERM="xterm"), tmp_path))
        return opened[-1]

    with no_process_left(folder_of(tmp_path / "home", "r")):
        yield open_one
    for terminal in opened:
        terminal.close()


def script(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "train.py"
    path.write_text(text)
    return [sys.executable, str(path), str(tmp_path)]


def test_ctrl_c_reaches_the_training_exactly_once_and_ends_us_as_it_ended(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal(command(script(tmp_path, COUNTS_SIGNALS), run="r"))
    terminal.expect("READY")
    terminal.type("\x03")
    assert terminal.wait() == 128 + signal.SIGINT
    assert (tmp_path / "SIGINT").read_text() == "x"
    assert "stopped" in (folder_of(tmp_path / "home", "r").root / "ended.json").read_text()


def test_a_window_change_reaches_the_training_exactly_once(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal(command(script(tmp_path, COUNTS_SIGNALS), run="r"))
    terminal.expect("READY")
    terminal.resize(50, 132)
    noted = tmp_path / "SIGWINCH"
    eventually("SIGWINCH", lambda: noted.exists() and noted.read_text())
    terminal.type("\x03")
    terminal.wait()
    assert noted.read_text() == "x"


def test_ctrl_z_gives_the_shell_its_prompt_and_fg_lets_the_training_go_on(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    """A real interactive shell does the job control, as on any day."""
    terminal = shell(tmp_path, open_terminal, PRINTS_ON)
    terminal.expect("batch 10")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("echo the shell is $((40+2))\n")
    assert "batch" not in terminal.expect("the shell is 42").partition("echo")[2]
    terminal.type("fg\n")
    terminal.expect("batch")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("fg\n")
    terminal.expect("batch")
    (tmp_path / "go").touch()
    terminal.expect("the last batch")
    terminal.type("echo code=$?\n")
    terminal.expect("code=0")


def test_bg_lets_it_go_on_behind_the_shell_and_fg_brings_ctrl_c_back_to_it(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = shell(tmp_path, open_terminal, COUNTS_SIGNALS)
    terminal.expect("READY")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("bg\necho the shell is $((40+2))\n")
    terminal.expect("the shell is 42")
    terminal.type("fg\n")
    terminal.expect("fg")
    eventually("the training in the foreground", lambda: os.tcgetpgrp(terminal.master) == training_pid(tmp_path))
    terminal.type("\x03")
    eventually("SIGINT", (tmp_path / "SIGINT").exists)
    terminal.type("echo code=$?\n")
    terminal.expect("code=130")
    assert (tmp_path / "SIGINT").read_text() == "x"


def test_the_training_goes_on_when_its_terminal_is_closed_and_prints_into_the_log(
    tmp_path: Path, open_terminal: Callable[..., Terminal]
) -> None:
    """As an SSH connection that drops at night: the shell dies and takes the terminal with it."""
    terminal = shell(tmp_path, open_terminal, PRINTS_ON)
    terminal.expect("batch 10")
    terminal.hang_up()
    folder = folder_of(tmp_path / "home", "r")
    eventually("output in the log", lambda: folder.output_log.exists() and "batch" in folder.output_log.read_text())
    (tmp_path / "go").touch()
    eventually("the end of the run", (folder.root / "ended.json").exists)
    assert '"finished"' in (folder.root / "ended.json").read_text()
    assert int((tmp_path / "done").read_text()) > 10
    assert "the last batch" in folder.output_log.read_text()
    eventually("our own lines in the log", lambda: "Run r: finished" in folder.output_log.read_text())


def test_our_lines_clear_the_progress_bar_they_meet(tmp_path: Path, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(command([sys.executable, "-c", "print('50%', end='', flush=True)"], run="r"))
    assert terminal.wait() == 0
    assert "\r\x1b[Ktrainwarden: Generation 1 has finished: exit code 0" in terminal.output


def shell(tmp_path: Path, open_terminal: Callable[..., Terminal], text: str) -> Terminal:
    """An interactive bash that has been told to start the supervisor."""
    line = command(script(tmp_path, text), run="r")
    start = tmp_path / "start.py"
    start.write_text(f"import os, sys\nos.execv(sys.executable, {[sys.executable, *line[1:]]!r})\n")
    terminal = open_terminal(["bash", "--norc", "--noprofile", "-i"])
    terminal.expect("$ ")
    terminal.type(f"{sys.executable} {start}\n")
    return terminal


def training_pid(tmp_path: Path) -> int:
    import json

    return int(json.loads(folder_of(tmp_path / "home", "r").generation(1).read_text())["pid"])
