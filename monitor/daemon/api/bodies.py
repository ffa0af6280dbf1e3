"""What clients send to the API, and its health. Values only."""

from __future__ import annotations

import msgspec

from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.runfolder import Exit, RunOutcome


class Open(msgspec.Struct, frozen=True):
    """A run with a folder is to be watched."""

    run: str


class Started(msgspec.Struct, frozen=True):
    """The supervisor started a generation's process."""

    number: int
    nonce: str
    pid: int
    supervisor_pid: int


class Exited(msgspec.Struct, frozen=True):
    """A generation's process is gone, with all its descendants."""

    exit: Exit
    relaunch: bool


class Ended(msgspec.Struct, frozen=True):
    """The supervisor will start nothing more."""

    how: RunOutcome
    detail: str = ""


class Shim(msgspec.Struct, frozen=True):
    """Another supervisor took over."""

    supervisor_pid: int


class Stacks(msgspec.Struct, frozen=True):
    """The supervisor has looked into a rank that answered nothing."""

    generation: int
    rank: int
    seen: StacksSeen


class Command(msgspec.Struct, frozen=True):
    """An operator asks for something."""

    by: str = "an operator"


class Health(msgspec.Struct, frozen=True):
    """Which daemon answers."""

    version: str
    pid: int
    port: int
    runs_live: int
    started_s: float
