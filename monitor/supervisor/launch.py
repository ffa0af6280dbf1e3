"""Starts a training as a shell would, behind the gate, and asks the kernel what became of it. Spawns and reaps."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import trainer_hooks.wire
from monitor.supervisor.process import Handle
from trainer_hooks.wire.runfolder import (
    ENV_GENERATION,
    ENV_NONCE,
    ENV_PLAN,
    ENV_RUN,
    ENV_RUN_FOLDER,
    Generation,
    RunFolder,
    RunSpec,
)

GATE = Path(__file__).with_name("exec_gate.py")
OURS = (ENV_RUN, ENV_RUN_FOLDER, ENV_GENERATION, ENV_NONCE, ENV_PLAN)


@dataclass(frozen=True, slots=True)
class Gone:
    """The first process of a training has ended. Both None: it was not our child, nobody can know."""

    code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was stopped, as by Ctrl-Z."""

    signal: int


def with_hooks(environment: dict[str, str]) -> dict[str, str]:
    """The user's environment, with the folder that attaches the hooks first on PYTHONPATH."""
    autoattach = str(Path(trainer_hooks.wire.__file__).parents[1] / "autoattach")
    users = environment.get("PYTHONPATH", "").removeprefix(autoattach).removeprefix(os.pathsep)  # adopted: it is there
    path = f"{autoattach}{os.pathsep}{users}" if users else autoattach
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
    return with_hooks(base) | ours | ({ENV_PLAN: str(plan)} if plan.exists() else {})


class Training:
    """A generation's first process, our child. It does nothing until `let_go`."""

    shares_terminal: bool

    def __init__(self, spec: RunSpec, environment: dict[str, str], on_terminal: bool) -> None:
        """In its own process group where a terminal is shared, else in a session of its own."""
        self.shares_terminal = on_terminal
        read, self._gate = os.pipe()
        os.set_inheritable(read, True)
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(GATE), str(read), spec.cwd, *spec.argv],
                environment,
                setsigmask=signal.pthread_sigmask(signal.SIG_BLOCK, ()) - {signal.SIGTTOU},
                **({"setpgroup": 0} if on_terminal else {"setsid": True}),
            )
        finally:
            os.close(read)
        self.handle = Handle(
            self.pid, os.pidfd_open(self.pid)
        )  # our own child, not yet reaped: no other can have the pid
        self._gone: Gone | None = None

    def let_go(self) -> None:
        """Start the user's command. Call it once everything is journaled."""
        with contextlib.suppress(BrokenPipeError):  # it was killed at the gate: status() will say so
            os.write(self._gate, b"1")
        os.close(self._gate)

    def abandon(self) -> None:
        """Never start it: the gate ends by itself."""
        os.close(self._gate)

    def status(self) -> Gone | Stopped | None:
        """What became of it since last asked; None: nothing new. Once it is gone, it stays gone."""
        if self._gone is None and (news := os.waitid(os.P_PIDFD, self.handle.descriptor, _ASK)):
            if news.si_code == os.CLD_STOPPED:
                return Stopped(news.si_status)
            if news.si_code == os.CLD_EXITED:
                self._gone = Gone(news.si_status, None)
            elif news.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                self._gone = Gone(None, news.si_status)
        return self._gone

    def signal(self, number: int) -> None:
        """To its whole group, as a terminal would; safe while we have not reaped its leader."""
        if self._gone is None:
            with contextlib.suppress(ProcessLookupError):  # only its zombie is left
                os.killpg(self.pid, number)


_ASK = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG


class AdoptedTraining:
    """A generation's first process whose supervisor died: not our child, so its exit status is lost."""

    shares_terminal = False

    def __init__(self, handle: Handle) -> None:
        self.pid = handle.pid
        self.handle = handle

    def status(self) -> Gone | Stopped | None:
        return Gone(None, None) if self.handle.gone else None

    def signal(self, number: int) -> None:
        """To it alone: the pidfd proves who it is, its group nobody proves."""
        self.handle.send(number)


def reap_orphans(ours: set[int]) -> None:
    """Orphans of the training become our children; ask for their status, so that none stays a zombie."""
    with contextlib.suppress(ChildProcessError):  # we have no children at all
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid not in ours:
            os.waitid(os.P_PID, dead.si_pid, os.WEXITED | os.WNOHANG)
