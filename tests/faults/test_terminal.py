"""A real terminal (a pty) whose other end is closed while a child prints, as when an SSH connection drops."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_hooks.terminal import HangupWatch, SurvivingFile

LINES = 20_000

PROGRAM = """
import sys
from pathlib import Path
from trainer_hooks.terminal import watch_hangup

watch_hangup(Path(sys.argv[1]))
assert sys.stdout.isatty() and sys.stderr.isatty() and sys.stdout.name == "<stdout>"
for number in range({lines}):
    print("line", number, flush=number % 3 == 0)
    if number % 100 == 0:
        print("note", number, file=sys.stderr)
print("finished")
sys.exit(7)
"""


class Terminal:
    """A child in a session of its own, printing to a pty; we hold the other end."""

    def __init__(self, *command: str) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_past(self, text: bytes) -> bytes:
        seen = b""
        while text not in seen:
            ready, _, _ = select.select([self.master], [], [], 60)
            assert ready, f"{text!r} did not come; got {seen[-200:]!r}"
            seen += os.read(self.master, 65_536)
        return seen

    def hang_up(self) -> None:
        os.close(self.master)


@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
def test_a_program_outlives_its_terminal_and_its_output_goes_on_in_the_log(
    tmp_path: Path, unbuffered: tuple[str, ...]
) -> None:
    log = tmp_path / "run" / "output.log"
    terminal = Terminal(*unbuffered, "-c", PROGRAM.format(lines=LINES), str(log))
    seen = terminal.read_past(b"line 500")
    terminal.hang_up()
    assert terminal.child.wait(120) == 7, "the program's own exit code"
    text = log.read_text()
    assert "the terminal is gone" in text
    assert text.endswith("finished\n")
    numbers = [
        int(line.split()[1]) for line in text.splitlines() if line.startswith("line ") and len(line.split()) == 2
    ]
    assert numbers[-1] == LINES - 1
    assert numbers[1:] == list(range(numbers[1], LINES)), "nothing is lost once the log has taken over"
    assert b"the terminal is gone" not in seen
    assert log.stat().st_mode & 0o077 == 0


def test_many_hang_ups_in_mid_print_end_no_program(tmp_path: Path) -> None:
    """The moment of the hang-up differs each time: the write that meets it must survive too."""
    for number in range(15):
        log = tmp_path / f"{number}.log"
        terminal = Terminal("-c", PROGRAM.format(lines=3_000), str(log))
        terminal.read_past(b"line %d" % (number * 37))
        terminal.hang_up()
        assert terminal.child.wait(120) == 7
        assert log.read_text().endswith("finished\n")


class MovedMeanwhile(SurvivingFile):
    """The waiting thread moves the outputs between the write that fails and the question why it failed."""

    def fileno(self) -> int:
        self._watch.move()
        return super().fileno()


def test_the_waiting_thread_may_be_quicker_than_the_write_that_met_the_hang_up(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    log = tmp_path / "output.log"
    stream = MovedMeanwhile(slave, "<stdout>", HangupWatch(log, [slave]))
    os.close(master)
    assert stream.write(b"said\n") == 5
    os.close(slave)
    assert log.read_bytes().endswith(b"said\n")


NATIVE = """
import os, sys, time
from pathlib import Path
from trainer_hooks.terminal import watch_hangup

watch_hangup(Path(sys.argv[1]))
os.write(1, b"ready")
deadline, nothing = time.monotonic() + 60, os.stat(os.devnull).st_rdev
while os.fstat(0).st_rdev != nothing and time.monotonic() < deadline:  # the input is moved last
    time.sleep(0.01)
assert os.read(0, 1) == b""
os.write(1, b"from native code")
"""


def test_what_native_code_prints_goes_to_the_log_and_input_is_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    terminal = Terminal("-c", NATIVE, str(log))
    terminal.read_past(b"ready")
    terminal.hang_up()
    assert terminal.child.wait(120) == 0
    assert log.read_bytes().endswith(b"from native code")


REDIRECTED = """
import os, sys, time
from pathlib import Path
from trainer_hooks.terminal import watch_hangup

watch = watch_hangup(Path(sys.argv[1]))
own = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT, 0o600)
os.dup2(own, 1)
os.write(2, b"ready")
deadline = time.monotonic() + 60
while not Path(sys.argv[1]).exists() and time.monotonic() < deadline:
    time.sleep(0.01)
print("to its own file")
"""


def test_an_output_the_program_has_moved_itself_is_left_alone(tmp_path: Path) -> None:
    log, own = tmp_path / "output.log", tmp_path / "own.txt"
    terminal = Terminal("-c", REDIRECTED, str(log), str(own))
    terminal.read_past(b"ready")
    terminal.hang_up()
    assert terminal.child.wait(120) == 0
    assert own.read_text() == "to its own file\n"
    assert "to its own file" not in log.read_text()


def test_without_a_terminal_nothing_is_watched(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from trainer_hooks.terminal import watch_hangup; "
    code += (
        "out = sys.stdout; assert watch_hangup(Path(sys.argv[1])) is None; assert sys.stdout is out; print('as before')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "output.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.stdout == "as before\n"
    assert not (tmp_path / "output.log").exists()
