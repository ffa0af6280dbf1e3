"""A case of the bench: one training step by step, with what is wrong in it and since when. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from monitor.core.model import Input
from trainer_hooks.wire.messages import BatchEnded, Event

SEVERITIES = ("low", "medium", "high")  # of faults
LASTS = ("1 batch", "10 batches", "for ever")
DURATION = {"1 batch": 1, "10 batches": 10, "for ever": 1 << 60}  # batches
RUN = "bench"  # the run's id, for cases that hold inputs of the core


class Trait(Enum):
    """What an aim must know of a fault."""

    FINITE = auto()  # every value stays a number
    RARE = auto()  # a small share of the batches is bad
    MEMORY_STEP = auto()  # memory rises at once


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record reaches the daemon. A TrainingStarted begins a new generation, and every case begins with one."""

    at_s: float  # Unix time, or seconds since any zero; never goes back within a case
    record: BatchEnded | Event
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """No record arrives for so long. Contenders are asked once a second."""

    at_s: float  # of its beginning
    seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What is in no record: a checkpoint was examined, the hardware was read. Only trainwarden gets it."""

    at_s: float
    given: Input  # of the run RUN


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The daemon's clock is set forward to `at_s`, or its machine was asleep until then: no second was seen between."""

    at_s: float


@dataclass(frozen=True, slots=True)
class DaemonRestarted:
    """The daemon is ended and started again: it knows what it wrote down."""

    at_s: float


Step = Arrived | Silence | Observed | ClockSet | DaemonRestarted


class Opening(Protocol):
    """A healthy beginning that several cases share. It is played once, before the first of them."""

    kind: str
    batches: int

    def steps(self) -> Iterator[Step]:
        """The steps, to be gone through once."""
        ...


@dataclass(frozen=True)
class Case:
    """One training. `steps` may be a generator: it is gone through once, for all contenders at the same time.

    Batches are numbered from 0 in the order in which rank 0's arrive. `onset` is the first faulty one; in a hang the
    one that does not come. None: nothing is wrong.
    """

    family: str  # "numerical", "optimizer", ...; of a healthy case: "healthy"; of a look-alike: "benign"
    fault: str  # what was done, or what kind of healthy training it is
    severity: str  # one of SEVERITIES; empty: healthy
    lasts: str  # one of LASTS; empty: healthy
    faulty: bool
    benign: bool  # a look-alike that must stay silent
    onset: int | None
    steps: Iterable[Step]
    peak: int | None = None  # of a spike: the batch with the highest loss
    norm_onset: int | None = None  # of a spike: the first batch whose gradient norm is five times its level
    source: str = "synthetic"  # "live": from a real training
    error: str = ""  # why the training that should have given it did not; then there are no steps to go by
    kind: str = ""  # of training: "YOLO-like", "mlp fp32", ...
    limit_s: float | None = None  # of a hang: it is found in time within so many seconds of silence
    opening: Opening | None = None  # what was played before `steps`; None: they begin at the beginning
    cause: str = ""  # the family that a finding should name; empty: `family`
    traits: frozenset[Trait] = frozenset()
