"""A fault as data: what it does to batches, when, for how long; and the case of it in a training of some kind. Pure.

Many faults share one healthy beginning, which is therefore played once: an Opening.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from tests.bench.detection.kinds import FAULTED, Batch, Kind, Source
from tests.bench.detection.streams import DURATION, Case, Opening, Step, Trait
from tests.bench.detection.trainer import Trainer

Change = Callable[[Batch, int], None]  # a batch, and how many batches came since the onset
Before = Callable[[Trainer, int], Iterable[Step]]  # what comes before that batch
Garble = Callable[[Iterator[Step], random.Random], Iterator[Step]]  # what becomes of the steps from the onset on
CALM = 1500  # healthy batches before a fault: every detector has learned what it needs
TAIL = 110  # batches from the onset on


def unchanged(batch: Batch, since: int) -> None:
    """Leave the batch as it is."""


def nothing(trainer: Trainer, since: int) -> Iterable[Step]:
    """Send nothing."""
    return ()


def as_they_are(steps: Iterator[Step], draw: random.Random) -> Iterator[Step]:
    """Leave the steps as they are."""
    return steps


@dataclass(frozen=True)
class Fault:
    """One cell of the bench: a family, what is done, how badly and for how long."""

    family: str
    name: str
    severity: str  # of streams.SEVERITIES
    lasts: str  # of streams.LASTS
    change: Change = unchanged
    before: Before = nothing
    garble: Garble = as_they_are
    ranks: int = 1
    on_rank: int | None = None  # None: on all
    others: Change = unchanged  # what it does to the other ranks
    repeats_max: int = 1 << 30  # trainings it is put into: fewer where it takes long to show
    calm: int = CALM
    tail: int = TAIL
    peak: int | None = None  # batches from the onset to the highest loss
    norm_onset: int | None = None  # and to the first gradient norm of five times its level
    kinds: tuple[Kind, ...] = FAULTED  # it is put into, in turn
    hangs: bool = False  # no batch comes any more: `before` gives what is seen of it
    limit_s: float | None = None
    cause: str = ""  # the family that a finding should name; empty: the fault's own
    traits: frozenset[Trait] = frozenset()


class Beginning(Opening):
    """A healthy training of a kind, up to some batch."""

    def __init__(self, kind: Kind, ranks: int, batches: int, seed: str) -> None:
        self.kind, self.batches = kind.name, batches
        self._trainer = Trainer(kind, ranks)
        self._sources = [Source(kind, random.Random(f"{seed}/{rank}")) for rank in range(ranks)]

    def steps(self) -> Iterator[Step]:
        trainer = self._trainer
        yield from trainer.begin()
        for at in range(self.batches):
            for rank, source in enumerate(self._sources):
                yield trainer.ended(source.batch(at), rank)
            yield from trainer.next_batch()

    def stand(self, seed: str) -> tuple[Trainer, list[Source]]:
        """The training after its steps were played, to continue with other random numbers."""
        sources = [replace(s, draw=random.Random(f"{seed}/{rank}")) for rank, s in enumerate(self._sources)]
        return replace(self._trainer, done=dict(self._trainer.done)), sources


def cases_of(faults: Iterable[Fault], repeats: int, seed: str) -> Iterator[Case]:
    """Every fault in `repeats` trainings; the same for the same seed. Those with one opening follow each other."""
    by_opening: dict[tuple[str, int, int], list[tuple[Fault, int]]] = {}
    kinds: dict[str, Kind] = {}
    for fault in faults:
        for repeat in range(min(repeats, fault.repeats_max)):
            kind = kinds.setdefault((chosen := fault.kinds[repeat % len(fault.kinds)]).name, chosen)
            by_opening.setdefault((kind.name, fault.ranks, fault.calm), []).append((fault, repeat))
    for (name, ranks, calm), members in by_opening.items():
        openings: dict[int, Beginning] = {}
        for fault, repeat in sorted(members, key=lambda member: member[1]):
            if repeat not in openings:
                openings[repeat] = _beginning(kinds[name], ranks, calm, f"{seed}/{name}/{ranks}/{calm}/{repeat}")
            yield _case(fault, repeat, openings[repeat], seed)


def _beginning(kind: Kind, ranks: int, calm: int, seed: str) -> Beginning:
    """Faults begin at no round batch, unless with the training."""
    return Beginning(kind, ranks, calm + random.Random(seed).randrange(100) if calm else 0, seed)


def _case(fault: Fault, repeat: int, opening: Beginning, seed: str) -> Case:
    key = f"{seed}/{fault.family}/{fault.name}/{fault.severity}/{fault.lasts}/{repeat}"
    onset = opening.batches
    return Case(
        fault.family, fault.name, fault.severity, fault.lasts, faulty=True, benign=False, onset=onset,
        steps=garbled(fault, opening, key), peak=None if fault.peak is None else onset + fault.peak,
        norm_onset=None if fault.norm_onset is None else onset + fault.norm_onset,
        kind=opening.kind, limit_s=fault.limit_s, opening=opening, cause=fault.cause, traits=fault.traits,
    )  # fmt: skip


def garbled(fault: Fault, opening: Beginning, seed: str) -> Iterator[Step]:
    """The steps from the onset on, once the opening was played."""
    yield from fault.garble(_faulty(fault, opening, seed), random.Random(seed))


def _faulty(fault: Fault, opening: Beginning, seed: str) -> Iterator[Step]:
    trainer, sources = opening.stand(seed)
    if fault.hangs:
        yield from fault.before(trainer, 0)
        return
    for since in range(fault.tail):
        lasting = since < DURATION[fault.lasts]
        if lasting:
            yield from fault.before(trainer, since)
        for rank, source in enumerate(sources):
            batch = source.batch(opening.batches + since)
            if lasting:
                (fault.change if fault.on_rank in (None, rank) else fault.others)(batch, since)
            yield trainer.ended(batch, rank)
        yield from trainer.next_batch()


def stop(seconds: float) -> Before:
    """No record arrives for so long."""
    return lambda trainer, since: (trainer.silence(seconds),)


def stop_in(phase: str, seconds: float) -> Before:
    """The trainer reports a phase, and nothing after it."""
    return lambda trainer, since: trainer.phase(phase, seconds)


def graded(*values: float) -> Iterator[tuple[str, float]]:
    """Each severity with its value, from the mildest."""
    return zip(("low", "medium", "high"), values, strict=True)
