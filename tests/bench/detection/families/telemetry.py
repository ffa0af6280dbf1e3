"""Records that are lost, doubled, late or out of order, clocks that jump: harmless, and nothing may be lost by them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import msgspec

from tests.bench.detection.families.numerical import nan_loss
from tests.bench.detection.fault import Fault, Garble
from tests.bench.detection.streams import Arrived, ClockSet, DaemonRestarted, Silence, Step
from trainer_hooks.wire.messages import BatchEnded

TAIL = 2000
LATE_S = 25.0
HOUR_S = 3600.0


def each_batch(becomes: Callable[[Arrived, random.Random], tuple[Step, ...]]) -> Garble:
    """Every record of a batch becomes something else; events arrive as they are, for they are sent again."""

    def garble(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
        for step in steps:
            if isinstance(step, Arrived) and isinstance(step.record, BatchEnded):
                yield from becomes(step, draw)
            else:
                yield step

    return garble


def lost(share: float) -> Garble:
    """That share of the records never arrives."""
    return each_batch(lambda step, draw: () if draw.random() < share else (step,))


def doubled(step: Arrived, draw: random.Random) -> tuple[Step, ...]:
    """A record arrives twice."""
    return (step, step)


def swapped(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """Every tenth record arrives after the one that followed it."""
    kept: Arrived | None = None
    for at, step in enumerate(steps):
        batch = isinstance(step, Arrived) and isinstance(step.record, BatchEnded)
        if batch and at % 10 == 0 and isinstance(step, Arrived) and kept is None:
            kept = step
            continue
        yield step
        if kept is not None:
            yield Arrived(step.at_s, kept.record, kept.rank)
            kept = None


def in_bursts(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """The connection stalls again and again: records wait up to 25 s and then come all at once."""
    waiting: list[Step] = []
    since_s: float | None = None
    for step in steps:
        waiting.append(step)
        since_s = step.at_s if since_s is None else since_s
        if step.at_s - since_s >= LATE_S or isinstance(step, Silence):
            yield from _at(waiting, step.at_s)
            waiting, since_s = [], None
    yield from waiting


def _at(steps: list[Step], now_s: float) -> Iterator[Step]:
    for step in steps:
        yield Arrived(now_s, step.record, step.rank) if isinstance(step, Arrived) else step


def clock_back(step: Arrived, draw: random.Random) -> tuple[Step, ...]:
    """The trainer's clock is an hour behind."""
    assert isinstance(step.record, BatchEnded)
    return (Arrived(step.at_s, msgspec.structs.replace(step.record, wall_s=step.record.wall_s - HOUR_S), step.rank),)


def asleep(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """The machine sleeps for an hour in the middle."""
    for at, step in enumerate(steps):
        if at == TAIL // 2:
            yield ClockSet(step.at_s + HOUR_S)
        yield step if at < TAIL // 2 else _later(step)


def _later(step: Step) -> Step:
    match step:
        case Arrived():
            return Arrived(step.at_s + HOUR_S, step.record, step.rank)
        case Silence():
            return Silence(step.at_s + HOUR_S, step.seconds)
        case _:
            return step


def restarted(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """The daemon is started again every 50 records."""
    for at, step in enumerate(steps):
        if at % 50 == 0:
            yield DaemonRestarted(step.at_s)
        yield step


def first_lost(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """The record of the first faulty batch never arrives."""
    for at, step in enumerate(steps):
        if at:
            yield step


def _harmless() -> Iterator[Fault]:
    for name, garble in (
        ("1 % of the records lost", lost(0.01)),
        ("30 % of the records lost", lost(0.3)),
        ("every record twice", each_batch(doubled)),
        ("records out of order", swapped),
        ("records late, in bursts", in_bursts),
        ("the trainer's clock an hour back", each_batch(clock_back)),
        ("the machine sleeps for an hour", asleep),
        ("the daemon restarted every 50 batches", restarted),
    ):
        yield Fault("telemetry", name, "", "for ever", garble=garble, calm=0, tail=TAIL)


HARMLESS = tuple(_harmless())
NAN_LOST = "the record of the NaN is lost"
FAULTS = (Fault("telemetry", NAN_LOST, "high", "10 batches", nan_loss, garble=first_lost, cause="numerical"),)
