"""Which live trainings the bench runs: every fault at its levels, and healthy twins of at least ten times the length.

Pure: the same seed gives the same list. Trainings that share a child process are one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tests.bench.detection.live.experiment import Experiment

FAMILIES = {
    "NaN in one sample": "numerical",
    "infinite activation": "numerical",
    "NaN in one gradient element": "numerical",
    "BatchNorm poisoned": "numerical",
    "gradients multiplied": "optimizer",
    "learning rate multiplied": "optimizer",
    "labels shuffled": "data",
    "loss sign flipped": "program",
    "zero_grad missing": "program",
    "weights frozen": "program",
    "bit flip in an exponent": "hardware",
    "slower": "throughput",
    "hang": "hang",
    "memory held": "memory",
}
HIGHEST_BIT, LOW_BIT = 30.0, 25.0  # of a float32's exponent: a factor of 2^128, and of 16
HANG_S = 40.0  # the rule is max(30 s, 5 intervals)
PERIOD_S = 0.01
BATCH_S_MAX = {"mlp": 0.05, "cnn": 0.1, "chars": 0.2, "yolo": 1.0}  # ten times the usual: it is not slow but stuck
START_S = 120.0  # imports, data, a first validation


@dataclass(frozen=True)
class Doing:
    """A fault at one severity."""

    fault: str
    severity: str
    strength: float = 1.0
    lasts: int = 0  # batches; 0: for ever


NONFINITE = tuple(
    Doing(fault, "high", lasts=lasts)
    for fault in ("NaN in one sample", "infinite activation", "NaN in one gradient element")
    for lasts in (1, 10, 0)
)
RATES = tuple(
    Doing("learning rate multiplied", severity, strength)
    for severity, strength in (("low", 3.0), ("medium", 10.0), ("high", 100.0))
)
GRADIENTS = tuple(
    Doing("gradients multiplied", severity, strength, lasts)
    for severity, strength in (("low", 3.0), ("medium", 10.0), ("high", 100.0))
    for lasts in (1, 10, 0)
)
LABELS = tuple(
    Doing("labels shuffled", severity, strength, lasts)
    for severity, strength in (("low", 0.1), ("high", 1.0))
    for lasts in (1, 10, 0)
)
PROGRAM = tuple(Doing(fault, "high") for fault in ("loss sign flipped", "zero_grad missing", "weights frozen"))
BITS = (Doing("bit flip in an exponent", "low", LOW_BIT), Doing("bit flip in an exponent", "high", HIGHEST_BIT))
NORM = (Doing("BatchNorm poisoned", "high"),)
PACE = tuple(
    Doing("slower", severity, strength, lasts)
    for severity, strength in (("medium", 0.25), ("high", 1.0))
    for lasts in (10, 0)
)
HANG = (Doing("hang", "high", HANG_S, 1),)
MEMORY = (
    Doing("memory held", "low", 0.000001),  # 0.01 % of capacity in 100 batches
    Doing("memory held", "high", 0.0001),  # 1 %
    Doing("memory held", "medium", 0.02, 1),
    Doing("memory held", "high", 0.1, 1),
)
COMMON = NONFINITE + RATES + GRADIENTS + LABELS + PROGRAM + BITS
FEW = (NONFINITE[0], NONFINITE[3], NONFINITE[8], RATES[1], RATES[2], GRADIENTS[6], LABELS[5], PROGRAM[0])


@dataclass(frozen=True)
class Trainings:
    """One kind of training, the faults it gets, and its healthy twins. The fault begins in batch `at` of `batches`."""

    plain: Experiment  # its seed, batches and fault are put in
    faults: tuple[Doing, ...]
    at: int
    batches: int
    healthy_batches: int  # of each twin
    twins: int = 1


def _of(training: str, precision: str = "fp32", lengths: str = "fixed", **more: float) -> Experiment:
    return Experiment(training, 0, 0, precision, lengths, **more)  # type: ignore[arg-type]


WHOLE = (
    Trainings(_of("mlp"), COMMON, 500, 700, 20_000, twins=7),
    Trainings(_of("mlp", "bf16"), FEW, 500, 700, 20_000),
    Trainings(_of("cnn"), COMMON + NORM, 500, 700, 8_000),
    Trainings(_of("cnn", "bf16"), FEW, 500, 700, 3_000),
    Trainings(_of("chars"), COMMON, 500, 700, 4_000),
    Trainings(_of("chars", "fp32", "variable"), FEW, 500, 700, 2_000),
    Trainings(_of("chars", "bf16", "variable"), FEW, 500, 700, 2_000),
    Trainings(_of("mlp", period_s=PERIOD_S), PACE, 1_200, 1_500, 6_000),
    Trainings(_of("mlp", period_s=PERIOD_S), HANG, 400, 420, 2_000),
    Trainings(_of("yolo"), (*FEW[:7], NORM[0]), 150, 240, 800),
)
QUICK = (
    Trainings(_of("mlp"), (NONFINITE[0], NONFINITE[3], NONFINITE[6], RATES[2]), 250, 300, 3_000),
    Trainings(_of("cnn"), (NONFINITE[0],), 250, 280, 600),
    Trainings(_of("chars", "bf16", "variable"), (NONFINITE[0],), 250, 280, 400),
)
ON_A_GPU = Trainings(Experiment("cnn", 0, 0, device="cuda"), (*MEMORY, NONFINITE[0]), 1_500, 2_500, 10_000)


@dataclass(frozen=True)
class Planned:
    """An experiment, and what the table says of it."""

    experiment: Experiment
    severity: str

    @property
    def family(self) -> str:
        return FAMILIES.get(self.experiment.fault, "healthy")

    @property
    def lasts(self) -> str:
        if not self.experiment.fault:
            return ""
        return {0: "for ever", 1: "1 batch"}.get(self.experiment.lasts, f"{self.experiment.lasts} batches")


def groups(seed: int, *, quick: bool, gpu: bool = False) -> Iterator[list[Planned]]:
    """Lists of trainings to be run one after the other, each list in a child of its own."""
    if quick:
        yield [planned for number, trainings in enumerate(QUICK) for planned in _plan(trainings, seed + 1000 * number)]
        return
    for number, trainings in enumerate((*WHOLE, ON_A_GPU) if gpu else WHOLE):
        yield list(_plan(trainings, seed + 1000 * number))


def deadline_s(group: list[Planned]) -> float:
    """How long a child may take for a group before it is ended."""
    work = sum(BATCH_S_MAX[planned.experiment.training] * planned.experiment.batches for planned in group)
    stops = sum(planned.experiment.strength for planned in group if planned.experiment.fault == "hang")
    return START_S + stops + work


def _plan(trainings: Trainings, seed: int) -> Iterator[Planned]:
    for number, doing in enumerate(trainings.faults):
        experiment = msgspec.structs.replace(
            trainings.plain,
            seed=seed + number,
            batches=trainings.batches,
            fault=doing.fault,
            strength=doing.strength,
            at=trainings.at,
            lasts=doing.lasts,
        )
        yield Planned(experiment, doing.severity)
    for twin in range(trainings.twins):
        healthy = msgspec.structs.replace(trainings.plain, seed=seed + 500 + twin, batches=trainings.healthy_batches)
        yield Planned(healthy, "")
