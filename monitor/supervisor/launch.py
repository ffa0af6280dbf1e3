"""Starts the training's first process as a shell would, and asks the kernel how it ended. Spawns and reaps."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from monitor.supervisor.process import Handle
from trainer_hooks.wire.python_path import with_autoattach
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import (
    ENV_GENERATION,
    ENV_NONCE,
    ENV_PLAN,
    ENV_RUN,
    ENV_RUN_FOLDER,
    ENV_SNAPSHOTS,
    RunFolder,
)

EXEC_GATE = Path(__file__).with_name("exec_gate.py")
OURS = (ENV_RUN, ENV_RUN_FOLDER, ENV_GENERATION, ENV_NONCE, ENV_PLAN, ENV_SNAPSHOTS)


@dataclass(frozen=True, slots=True)
class Ended:
    """The first process of a training has ended. Both None: it was not our child, so nobody can know how."""

    code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class Paused:
    """It was stopped by a signal, as by Ctrl-Z, and can be continued."""

    signal: int


def with_hooks(environment: dict[str, str]) -> dict[str, str]:
    """The user's environment with the folder that attaches the hooks first on PYTHONPATH."""
    path = with_autoattach(environment.get("PYTHONPATH", ""))  # after a takeover it is there already
    return {name: value for name, value in environment.items() if name not in OURS} | {"PYTHONPATH": path}


def environment_for(spec: RunSpec, folder: RunFolder, generation: Generation, base: dict[str, str]) -> dict[str, str]:
    """What the training of this generation is started with."""
    ours = {
        ENV_RUN: spec.run,
        ENV_RUN_FOLDER: str(folder.root.resolve()),
        ENV_GENERATION: str(generation.number),
        ENV_NONCE: generation.nonce,
    }
    plan = folder.plan(generation.number).resolve()
    if spec.act and spec.snapshot_s:
        ours[ENV_SNAPSHOTS] = str(spec.snapshot_s)
    return with_hooks(base) | ours | ({ENV_PLAN: str(plan)} if plan.exists() else {})


class TrainingProcess:
    """A generation's first process, our child. The user's command starts at `let_go`."""

    shares_terminal: bool

    def __init__(self, spec: RunSpec, environment: dict[str, str], on_terminal: bool) -> None:
        """In its own process group if it shares our terminal, else in a session of its own."""
        self.shares_terminal = on_terminal
        read, self._gate = os.pipe()
        os.set_inheritable(read, True)
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(EXEC_GATE), str(read), spec.cwd, *spec.argv],
                environment,
                setsigmask=signal.pthread_sigmask(signal.SIG_BLOCK, ()) - {signal.SIGTTOU},
                **({"setpgroup": 0} if on_terminal else {"setsid": True}),
            )
        finally:
            os.close(read)
        self.handle = Handle(self.pid, os.pidfd_open(self.pid))  # an unreaped child of ours: nobody else has the pid
        self._ended: Ended | None = None

    def let_go(self) -> None:
        """Start the user's command. Call it once the process is written down."""
        with contextlib.suppress(BrokenPipeError):  # it was killed while it waited: status() reports it
            os.write(self._gate, b"1")
        os.close(self._gate)

    def abandon(self) -> None:
        """Never start the command: the waiting process ends by itself."""
        os.close(self._gate)

    def status(self) -> Ended | Paused | None:
        """Its new state since the last call; None: nothing new. Once it has ended, that is the answer for ever."""
        if self._ended is None and (news := os.waitid(os.P_PIDFD, self.handle.descriptor, _ASK)):
            if news.si_code == os.CLD_STOPPED:
                return Paused(news.si_status)
            if news.si_code == os.CLD_EXITED:
                self._ended = Ended(news.si_status, None)
            elif news.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                self._ended = Ended(None, news.si_status)
        return self._ended

    def signal(self, number: int) -> None:
        """Send a signal to its whole group, as a terminal would. Safe while its leader is not reaped."""
        if self._ended is None:
            with contextlib.suppress(ProcessLookupError):  # only its zombie is left
                os.killpg(self.pid, number)


_ASK = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG


class AdoptedProcess:
    """A generation's first process whose supervisor died. It is not our child, so its exit status is lost."""

    shares_terminal = False

    def __init__(self, handle: Handle) -> None:
        self.pid = handle.pid
        self.handle = handle

    def status(self) -> Ended | Paused | None:
        return Ended(None, None) if self.handle.gone else None

    def signal(self, number: int) -> None:
        """Send a signal to it alone: the pidfd identifies it, nothing identifies its group."""
        self.handle.send(number)


def reap_orphans(ours: set[int]) -> None:
    """Reap the training's orphans, which become our children, so that none stays a zombie."""
    with contextlib.suppress(ChildProcessError):  # we have no children at all
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid not in ours:
            os.waitid(os.P_PID, dead.si_pid, os.WEXITED | os.WNOHANG)
