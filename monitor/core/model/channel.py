"""What the supervisor and the CLI send to the daemon over HTTP, and what it answers to both. Values only.

There is one route, POST /api/v1/runs/<run>/inputs, and its body is one of the core's own inputs as tagged JSON:
`{"type": "run_ended", "run": "night", "how": "finished", "detail": ""}`.
"""

from __future__ import annotations

import msgspec

from monitor.core.model.inputs import (
    CommandGiven,
    GenerationDied,
    GenerationExited,
    GenerationStarted,
    IncidentAcknowledged,
    ReceiptFound,
    RunEnded,
    StacksTaken,
    SupervisorChanged,
)
from trainer_hooks.wire.enums import StrEnum


class RunAnnounced(msgspec.Struct, frozen=True, tag="run_announced"):
    """Watch the run that has a folder. The daemon reads its policy there, since the policy may hold secrets.

    This input never reaches the core: the daemon feeds RunOpened in its place.
    """

    run: str


SupervisorInput = (
    RunAnnounced
    | GenerationStarted
    | GenerationExited
    | GenerationDied
    | RunEnded
    | SupervisorChanged
    | ReceiptFound
    | StacksTaken
)
ClientInput = SupervisorInput | CommandGiven | IncidentAcknowledged  # the last two: from a person


class RestartAnswer(StrEnum):
    """What a supervisor that has sent GenerationDied may expect."""

    UNKNOWN = ""  # the question has not arrived
    WAIT = "wait"  # a saved state is being examined
    PLAN = "plan"  # the plan of the next generation is on its way to the run folder, or there
    NONE = "none"  # there will be no plan


class Health(msgspec.Struct, frozen=True):
    """Which daemon answers."""

    version: str
    pid: int
    port: int  # of /metrics
    runs_live: int
    started_s: float  # Unix time


class TimelineLine(msgspec.Struct, frozen=True):
    """A line for whoever looks at the run's terminal. `n` grows over the whole history; 0: not stored yet."""

    n: int
    run: str  # empty: it is about the daemon, and every run shows it
    at_s: float
    severity: str
    text: str


def kind_of(given: ClientInput) -> str:
    """Its tag, such as "run_ended"."""
    return str(given.__struct_config__.tag)
