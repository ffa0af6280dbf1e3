"""What becomes of alerts before they are stored for delivery: a row of pure stages. Values only.

Silence, inhibition and grouping are stages too: each gets the alerts that are left and says which go on, and why others
do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from alerts.alert import Alert


class Memory(msgspec.Struct, frozen=True):
    """What was done with earlier alerts, as far as stages look at it."""

    seen: AbstractSet[str] = frozenset()  # ids that are stored already


class Stopped(msgspec.Struct, frozen=True):
    """An alert that goes no further, and why."""

    alert: Alert
    reason: str  # one of a stage's closed list, fit for a metric's label


class Passage(msgspec.Struct, frozen=True):
    """The alerts that go on, in their order, and those that were stopped."""

    going: tuple[Alert, ...]
    stopped: tuple[Stopped, ...] = ()


class Stage(Protocol):
    """One step. Pure: the same alerts, memory and time give the same passage."""

    def __call__(self, alerts: tuple[Alert, ...], memory: Memory, now_s: float) -> Passage: ...


def deduplicate(alerts: tuple[Alert, ...], memory: Memory, now_s: float) -> Passage:
    """Each id once: those in memory and repeats within `alerts` are stopped as "duplicate"."""
    seen = set(memory.seen)
    going, stopped = [], []
    for alert in alerts:
        if alert.id in seen:
            stopped.append(Stopped(alert, "duplicate"))
        else:
            going.append(alert)
        seen.add(alert.id)
    return Passage(tuple(going), tuple(stopped))


STAGES: tuple[Stage, ...] = (deduplicate,)


def pipeline(alerts: Sequence[Alert], memory: Memory, now_s: float, stages: Sequence[Stage] = STAGES) -> Passage:
    """The alerts through every stage, in order; stops early when none is left."""
    going = tuple(alerts)
    stopped: list[Stopped] = []
    for stage in stages:
        if not going:
            break
        passage = stage(going, memory, now_s)
        going = passage.going
        stopped.extend(passage.stopped)
    return Passage(going, tuple(stopped))
