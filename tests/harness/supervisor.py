"""Starts real supervisors over real scripts, with a terminal of their own or without one. Every wait is bounded."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from monitor.supervisor.descendants import KillTimeouts
from monitor.supervisor.process import PROC, environment
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.plan import Checkpoint, Plan, Receipt, Settings
from trainer_hooks.wire.runfolder import ENV_HOME, ENV_RUN_FOLDER, RunFolder

WAIT_S = 60.0  # of a machine under load; a test that has to wait this long has failed
NO_DAEMON = ("false",)
QUICK = {"leave_s": 1.0, "orphans_s": 0.5, "term_s": 1.5, "kill_s": 5.0}

MAIN = """
import json, os, sys
del sys.path[0]  # the working folder
import _trainwarden
sys.path.insert(0, os.path.dirname(_trainwarden.__file__))  # as the console script does it
from monitor.supervisor.descendants import KillTimeouts
from monitor.supervisor.supervise import RunOptions, run
given = json.loads(sys.argv[1])
given["argv"] = tuple(given["argv"])
given["daemon_argv"] = tuple(given["daemon_argv"])
given["kill_timeouts"] = KillTimeouts(**given["kill_timeouts"])
sys.exit(run(RunOptions(**given)))
"""


def eventually(what: str, condition: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """The first truthy answer of `condition`. Fails, naming `what`, when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline_s, f"did not happen within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)
    return answer


def command(argv: list[str], **options: Any) -> list[str]:
    """The command line of a supervisor with these RunOptions; without a daemon unless told otherwise."""
    given = {"argv": argv, "policy_text": "version: 1\n", "daemon_argv": NO_DAEMON, "kill_timeouts": QUICK} | options
    return [sys.executable, "-c", MAIN, json.dumps(given)]


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """For a supervisor whose runs and sockets all lie below `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWARDEN_")}
    return kept | {ENV_HOME: str(home), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"} | more


class Terminal:
    """A pseudo-terminal with a session of its own on it, as a terminal window is."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path) -> None:
        self.master, slave = os.openpty()
        name = os.ttyname(slave)
        os.set_inheritable(self.master, False)
        self.resize(24, 80)
        self.output = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end inside a character
        inner = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            "import os,sys; os.chdir(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])",
        ]
        self.pid = os.posix_spawn(
            sys.executable,
            [*inner, str(cwd), *argv],
            env,
            setsid=True,  # a session leader that opens a terminal is controlled by it
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ],
        )
        os.close(slave)
        self._pidfd = os.pidfd_open(self.pid)
        self.closed = False

    def resize(self, rows: int, columns: int) -> None:
        """As dragging the window's corner does."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self) -> str:
        """All output so far."""
        while not self.closed and select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            self.output += self._decoder.decode(data)
        return self.output

    def expect(self, text: str, timeout_s: float = WAIT_S) -> str:
        """Wait for `text` in what comes after the last thing expected; returns what came before it."""
        try:
            eventually(f"{text!r} on the terminal", lambda: text in self.read(), timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the terminal shows: {self.output!r}") from None
        before, _, self.output = self.output.partition(text)
        return before

    def hang_up(self) -> None:
        """Close the window."""
        self.closed = True
        os.close(self.master)

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """The exit status of the first process, as a shell reports it; its output is read meanwhile."""
        eventually("the end of the terminal's first process", lambda: (self.read(), self._over())[1], timeout_s)
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def _over(self) -> bool:
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def close(self) -> None:
        if not self.closed:
            self.hang_up()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def processes_of(folder: RunFolder) -> list[int]:
    """Every live process that was started for the run of this folder, whoever its parent is."""
    found = [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdecimal()]
    return [pid for pid in found if environment(pid).get(ENV_RUN_FOLDER) == str(folder.root)]


@contextlib.contextmanager
def no_process_left(folder: RunFolder) -> Iterator[None]:
    """Whatever a test leaves of the run of this folder is killed."""
    try:
        yield
    finally:
        for pid in processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def supervisor(
    home: Path, cwd: Path, argv: list[str], env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """A supervisor without a terminal, its output piped."""
    return subprocess.Popen(
        command(argv, **options),
        cwd=cwd,
        env=env or environment_of(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def output_until(process: subprocess.Popen[str], text: str, timeout_s: float = WAIT_S) -> str:
    """What a supervisor with piped output prints up to `text`, as it comes; `communicate` returns what comes after."""
    assert process.stdout is not None
    descriptor, printed = process.stdout.fileno(), b""

    def shown() -> bool:
        nonlocal printed
        if select.select([descriptor], [], [], 0)[0]:
            data = os.read(descriptor, 65536)
            assert data, f"it ended without saying {text!r}; it printed: {printed.decode(errors='replace')}"
            printed += data
        return text.encode() in printed

    eventually(f"{text!r} in the output", shown, timeout_s)
    return printed.decode(errors="replace")


def folder_of(home: Path, run: str) -> RunFolder:
    return RunFolder(home / "runs" / run)


def plan_for(generation: int, save_dir: Path, checkpoint: Checkpoint | None, **changes: Any) -> Plan:
    """A plan of run "r" that goes back to `checkpoint`."""
    settings = Settings(
        groups=(), clip_norm=5.0, momentum=0.85, ramp_batches=10, warmup_epochs=1, learning_rate=0.1, weight_decay=0.0
    )
    given: dict[str, Any] = {
        "id": f"plan-{generation}",
        "run": "r",
        "generation": generation,
        "kind": "rollback",
        "order": f"order-{generation}",
        "incident": "r-1",
        "reason": "3 non-finite batches in 100",
        "ordinal": 1,
        "arguments_digest": "",
        "save_dir": str(save_dir),
        "checkpoint": checkpoint,
        "best": None,
        "start_epoch": 4,
        "settings": settings,
        "changes": (),
        "seed_offset": 1,
        "onset_samples": (),
        "grace_s": 30.0,
        "written_s": 0.0,
    }
    return Plan(**(given | changes))


def obey(folder: RunFolder, order: str, generation: int, outcome: str = "applied") -> None:
    """Leave the receipt that the hooks would leave."""
    receipt = Receipt(
        order=order,
        generation=generation,
        outcome=outcome,
        detail="at a batch boundary",
        epoch=4,
        batch=40,
        read_back={},
        written_s=time.time(),
    )
    write(folder.receipt(order), receipt)


def kill_timeouts(**changes: float) -> KillTimeouts:
    return KillTimeouts(**(QUICK | changes))
