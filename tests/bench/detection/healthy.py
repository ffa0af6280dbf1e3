"""Trainings in which nothing is wrong: plain ones of every kind, and the look-alikes that must stay silent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, product

from tests.bench.detection.families.data import moved, resumed
from tests.bench.detection.families.telemetry import HARMLESS
from tests.bench.detection.fault import Before, Beginning, Change, Fault, garbled
from tests.bench.detection.kinds import KINDS, LANGUAGE, LENGTHS, RESERVED, STEPS, YOLO, Batch, Kind
from tests.bench.detection.streams import Case, Step
from tests.bench.detection.trainer import Trainer
from trainer_hooks.wire.messages import PhaseChanged, SettingChanged

HEALTHY = "healthy"  # the family of no fault
HEALTHY_LENGTH = 15_000  # batches of one training
LOOK_ALIKE_LENGTH = 6_000
CYCLE = 2000  # batches from one restart of the learning rate to the next
MIDDLE = LOOK_ALIKE_LENGTH // 2
THIRD = LOOK_ALIKE_LENGTH // 3
PAUSE_STRIDE = 700  # batches from one pause to the next


def healthy_cases(batches: int, seed: str, length: int = HEALTHY_LENGTH) -> Iterator[Case]:
    """Trainings of every kind in turn, `batches` at the least, and each kind as often as the others."""
    rounds = max(math.ceil(batches / (length * len(KINDS))), 1)
    length = min(length, math.ceil(batches / (rounds * len(KINDS))))
    for kind, repeat in product(KINDS, range(rounds)):
        opening = Beginning(kind, 1, length, f"{seed}/healthy/{kind.name}/{repeat}")
        yield _told(HEALTHY, kind.name, kind, opening.steps())


def look_alikes(seed: str) -> Iterator[Case]:
    """Each benign change, in a training of one of the kinds that it may happen to."""
    for number, fault in enumerate((*LOOK_ALIKES, *HARMLESS)):
        kind = fault.kinds[number % len(fault.kinds)]
        key = f"{seed}/benign/{fault.name}/{kind.name}"
        nothing_yet = Beginning(kind, 1, 0, key)
        yield _told("benign", fault.name, kind, chain(nothing_yet.steps(), garbled(fault, nothing_yet, key)))


def _told(family: str, name: str, kind: Kind, steps: Iterable[Step]) -> Case:
    benign = family == "benign"
    return Case(family, name, "", "", faulty=False, benign=benign, onset=None, steps=steps, kind=kind.name)


def scaler_warm_up(batch: Batch, at: int) -> None:
    """float16 begins with a scale that is too large: the first steps overflow until it fits."""
    batch.scale = 65536.0 / 2 ** min(at // 3, 6)
    if at < 18 and at % 3 == 2:
        batch.overflow, batch.norm = True, math.inf


def warm_up_ends(batch: Batch, at: int) -> None:
    """The norm grows with the learning rate, and stops growing with it."""
    moved(1.0, 0.5 + 0.5 * min(at / 1000, 1.0))(batch, at)


def restarts(batch: Batch, at: int) -> None:
    """The learning rate falls along a cosine and starts again; each time the loss stands higher for a while."""
    since = at % CYCLE
    batch.rate = 0.05 * (1.0 + math.cos(math.pi * since / CYCLE)) + 0.001
    if at >= CYCLE:
        moved(1.0 + 0.4 * math.exp(-since / 100), 1.0)(batch, at)


def rate_steps(batch: Batch, at: int) -> None:
    """The learning rate falls to a tenth, twice; the loss drops each time."""
    steps = min(at // THIRD, 2)
    batch.rate = 0.1**steps
    moved(0.8**steps, 1.0)(batch, at)


def mosaic_closed(batch: Batch, at: int) -> None:
    """Images are plain from here on: an easier loss, faster batches."""
    if at >= MIDDLE:
        moved(0.7, 1.0)(batch, at)
        batch.took_s *= 0.6


def growing_batch(batch: Batch, at: int) -> None:
    """The batch size doubles twice: longer batches, calmer gradients."""
    factor = 1 << min(at // THIRD, 2)
    batch.size *= factor
    batch.took_s *= factor
    moved(1.0, 1.0 / math.sqrt(factor))(batch, at)


def new_mixture(batch: Batch, at: int) -> None:
    """Another mixture of data, twice: the loss lies elsewhere."""
    moved((1.0, 1.6, 0.7)[min(at // THIRD, 2)], 1.0)(batch, at)


def slow_every_tenth(batch: Batch, at: int) -> None:
    """Something is done every ten batches."""
    if at % 10 == 0:
        batch.took_s *= 4.0


def sorted_by_length(batch: Batch, at: int) -> None:
    """Batches get longer within each epoch."""
    longer = 0.5 + 1.5 * (at % 1000) / 1000
    batch.took_s *= longer
    batch.length = int(256 * longer)


def long_stretch(batch: Batch, at: int) -> None:
    """Five hundred batches of long sequences."""
    if MIDDLE <= at < MIDDLE + 500:
        batch.took_s *= 1.8
        batch.length = int((batch.length or 256) * 1.8)


def longest_batch(batch: Batch, at: int) -> None:
    """One batch in 900 needs much more memory than the others, and gives it back."""
    if at % 900 == 450:
        batch.reserved += int(0.3 * RESERVED)
        batch.allocated += int(0.3 * RESERVED)


def epoch_edges(batch: Batch, at: int) -> None:
    """What is seen again is known: the loss drops at every epoch."""
    moved(0.93 ** (at // 1000), 1.0)(batch, at)


def from_scratch(batch: Batch, at: int) -> None:
    """A detector that matches more and more objects: its loss rises to ten times, and falls from then on."""
    moved(0.1 * 10.0 ** min(at / 400, 1.0), 1.0)(batch, at)


def growing_term(batch: Batch, at: int) -> None:
    """The weight of one term grows, as that of a KL divergence does."""
    moved(1.0 + 0.5 * min(at / 2000, 1.0), 1.0)(batch, at)


def compiles(batch: Batch, at: int) -> None:
    """The first batch takes minutes."""
    if at == 0:
        batch.took_s = 180.0


def told(at: int, name: str, reason: str) -> Before:
    """A setting changes at this batch, with its reason."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since in (at, 2 * at):
            yield trainer.event(
                SettingChanged(trainer.now_s, trainer.epoch, trainer.batch_in_epoch, name, "a", "b", reason)
            )

    return before


def paused(phase: str, seconds: float) -> Before:
    """Again and again the trainer is busy with something that it declares; each time it may take longer."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since % PAUSE_STRIDE == PAUSE_STRIDE - 1:
            yield from trainer.phase(phase, seconds * (1.0 + since / LOOK_ALIKE_LENGTH))
            yield trainer.event(PhaseChanged(trainer.now_s, trainer.epoch, "train"))

    return before


def resumed_in_the_middle(trainer: Trainer, since: int) -> Iterable[Step]:
    """A clean resume."""
    return resumed(trainer, since - MIDDLE)


def _look_alikes() -> Iterator[Fault]:
    like = partial(Fault, "benign", severity="", lasts="for ever", calm=0, tail=LOOK_ALIKE_LENGTH)
    both: tuple[Kind, ...] = (YOLO, LANGUAGE)
    ramped = tuple(replace(kind, warmup=1000, epoch=1000) for kind in both)
    changes: tuple[tuple[str, Change], ...] = (
        ("learning rate restarts", restarts),
        ("learning rate steps", rate_steps),
        ("slow every 10 batches", slow_every_tenth),
        ("sorted by length", sorted_by_length),
        ("longest batch needs memory", longest_batch),
        ("epoch edges", epoch_edges),
        ("rises from scratch", from_scratch),
        ("term of growing weight", growing_term),
        ("first batch compiles", compiles),
    )
    yield from (like(name, change=change, kinds=both) for name, change in changes)
    yield like("scaler warm-up skips", change=scaler_warm_up, kinds=(YOLO,))
    yield like("end of warm-up", change=warm_up_ends, kinds=ramped)
    mosaic = told(MIDDLE, "mosaic", "mosaic closed")
    yield like("mosaic closed", change=mosaic_closed, before=mosaic, kinds=(YOLO,))
    yield like("batch size ramp", change=growing_batch, kinds=both)
    boundary = told(THIRD, "boundary", "declared: new data mixture")
    yield like("declared boundary", change=new_mixture, before=boundary, kinds=both)
    yield like("resumed", before=resumed_in_the_middle, kinds=both)
    yield like("long validations", before=paused("validate", 90.0), kinds=both)
    yield like("long saves", before=paused("save", 40.0), kinds=both)
    yield like("variable length", kinds=(replace(LENGTHS, length_spread=0.8),))
    yield like("a stretch of long sequences", change=long_stretch, kinds=(LENGTHS,))
    yield like("accumulated steps", kinds=(STEPS,))


LOOK_ALIKES = tuple(_look_alikes())
