"""What the bench is held to, each aim with the figure that decides it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tests.bench.detection.contenders import AlarmLevel
from tests.bench.detection.play import Outcome
from tests.bench.detection.score import FalseAlarms, first, in_time, recall
from tests.bench.detection.streams import Trait

HEALTHY_MIN = 300_000  # batches: with no alarm in as many, fewer than 10 per million at 95 %
HEALTHY_SHARE = 10  # healthy batches for each faulty one
BENCHED = "trainwarden default"


class Aim(msgspec.Struct, frozen=True):
    """One aim and how it went."""

    aim: str
    figure: str
    met: bool | None  # None: too little was run to decide


def aims(outcomes: Sequence[Outcome], alarms: Iterable[FalseAlarms], faulty_batches: int) -> list[Aim]:
    """Every aim that these outcomes can decide."""
    ours = [o for o in outcomes if o.contender == BENCHED and o.case.faulty and not o.case.error]
    return [*_nan(ours), *_spikes(ours), *_hangs(ours), *_memory(ours), *_false_alarms(list(alarms), faulty_batches)]


def _nan(ours: list[Outcome]) -> Iterator[Aim]:
    numerical = [o for o in ours if o.case.family == "numerical" and Trait.FINITE not in o.case.traits]
    if not numerical:
        return
    yield _within(
        "NaN or infinity reported on its batch (info: counted, shown, checkpoint examined)",
        numerical,
        AlarmLevel.INFO,
        0,
    )
    going_on = [o for o in numerical if o.case.lasts != "1 batch" and Trait.RARE not in o.case.traits]
    if going_on:
        aim = "NaN for ten batches or for ever is critical by its third batch (the rule: 3 among 100)"
        yield _within(aim, going_on, AlarmLevel.CRITICAL, 2)


def _spikes(ours: list[Outcome]) -> Iterator[Aim]:
    spikes = [o for o in ours if o.case.peak is not None]
    if spikes:
        if high := [o for o in spikes if o.case.norm_onset is not None]:
            yield _after_norm(high)
        yield _within("spikes reported within one batch of their very first", spikes, AlarmLevel.INFO, 1)
        yield _within(
            "spikes warned of by their peak, two to four batches after their first", spikes, AlarmLevel.WARNING, 4
        )


def _after_norm(spikes: list[Outcome]) -> Aim:
    aim = "spikes reported within one batch of the first gradient norm of five times its level"
    found = [(o.case.norm_onset or 0, first(o, AlarmLevel.INFO)) for o in spikes]
    hits = sum(alarm is not None and alarm.batch - onset <= 1 for onset, alarm in found)
    return Aim(aim, f"{hits} of {len(spikes)}", hits == len(spikes))


def _hangs(ours: list[Outcome]) -> Iterator[Aim]:
    hangs = [o for o in ours if o.case.limit_s is not None]
    if hangs:
        yield _within("hangs warned of within max(30 s, 5 intervals) of silence", hangs, AlarmLevel.WARNING, 0)


def _memory(ours: list[Outcome]) -> Iterator[Aim]:
    steps = [o for o in ours if Trait.MEMORY_STEP in o.case.traits]
    if steps:
        yield _within("memory steps of any size reported within five batches", steps, AlarmLevel.INFO, 5)
        large = [o for o in steps if o.case.severity != "low"]
        yield _within("memory steps of 10 % and more reported within five batches", large, AlarmLevel.INFO, 5)


def _false_alarms(rows: list[FalseAlarms], faulty_batches: int) -> Iterator[Aim]:
    for row in rows:
        if row.level == AlarmLevel.CRITICAL.label:
            aim = f"{row.contender}: no critical false alarm in {row.among} trainings"
            enough = row.among == "benign" or row.batches >= HEALTHY_MIN
            aim += f" of {HEALTHY_MIN:,} batches" if row.among == "healthy" else ""
            met = False if row.alarms else True if enough else None
            yield Aim(aim, f"{row.alarms} in {row.batches:,} batches", met)
    healthy = {row.among: row.batches for row in rows}
    if healthy.get("healthy", 0) >= HEALTHY_MIN:
        ratio = sum(healthy.values()) / max(faulty_batches, 1)
        aim = f"{HEALTHY_SHARE} batches of healthy trainings and look-alikes for each faulty one"
        yield Aim(aim, f"{ratio:.1f}", ratio >= HEALTHY_SHARE)


def _within(aim: str, outcomes: list[Outcome], level: AlarmLevel, batches: int) -> Aim:
    hits = sum((h := first(o, level)) is not None and in_time(o, h, batches) for o in outcomes)
    found = recall(outcomes, level)
    later = f", {found.found} at any time" if found.found != hits else ""
    return Aim(aim, f"{hits} of {len(outcomes)}{later}", hits == len(outcomes))
