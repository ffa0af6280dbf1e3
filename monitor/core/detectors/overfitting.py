"""The validation gets worse while the training loss goes on falling."""

from __future__ import annotations

import math
import statistics
from functools import lru_cache

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import whole_percent
from monitor.core.model import EpochStatus, Family, Finding, Severity
from monitor.core.state.rows import EpochRow
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import EpochEnded

ROWS_MAX = 200  # epochs looked at
STRIDE = 10  # of a training longer than that, every tenth epoch is looked at: a look takes a millisecond
NEAR = 5  # epochs whose median stands for a place of the curve
NOISE = 4.0  # times what an epoch differs from the mean of its neighbours: twenty unstable trainings stay silent
TRAIN_FALL = 0.01  # the training loss fell by this share since


class OverfittingConfig(DetectorConfig):
    """The validation gets worse while the training loss goes on falling."""

    epochs: int = Field(
        5,
        ge=3,
        le=50,
        description="This many epochs must have passed since the best one. Five show a trend where one or two may be "
        "chance.",
    )
    worse: float = Field(
        0.05,
        gt=0,
        le=1,
        description="The validation must be worse than at its best by this share, from 0 to 1. It must also exceed "
        "four times what neighbouring epochs differ by anyway.",
    )


@register("overfitting", OverfittingConfig, Family.VALIDATION, Moment.EVENT, at_most=Severity.INFO)
def overfitting(run: RunView, config: OverfittingConfig) -> Finding | None:
    """The best place of the curve is `epochs` back, its end is worse by `worse` and by the noise, and the loss falls.

    A place is the median of five epochs, so that no single lucky one is held against the others.

    Judged by the fitness where there is one, else by the validation's loss. Reported once, at the first epoch at which
    it holds. Blind to what is over within ten epochs.
    """
    if not isinstance(run.event, EpochEnded) or run.rank:
        return None
    stride = STRIDE if len(run.training.epochs) > ROWS_MAX else 1
    if run.event.epoch % stride:
        return None
    rows = run.training.epochs[-ROWS_MAX:]
    rows = [r for r in rows if r.generation == run.at.generation and r.status == EpochStatus.ENDED]
    name, worth = ("fitness", _fitness) if any(_fitness(r) is not None for r in rows) else ("validation loss", _loss)
    rated = [(row, value) for row in rows if (value := worth(row)) is not None]
    found = _worse_by(rated, config)
    if found is None or _worse_by(rated[:-stride], config) is not None:
        return None
    best, by = found
    return run.finding(
        Severity.INFO, since=run.at, signal=name, value=by, limit=config.worse,
        summary=f"overfitting: the {name} was best in epoch {best.epoch} and is worse by {whole_percent(by)} "
        "since, while the training loss went on falling",
    )  # fmt: skip


def _fitness(row: EpochRow) -> float | None:
    known = row.fitness is not None and math.isfinite(row.fitness) and row.fitness > 0.0
    return math.log(row.fitness) if known and row.fitness is not None else None


def _loss(row: EpochRow) -> float | None:
    """Minus the logarithm of the validation's loss, or of the sum of its parts: more is better."""
    parts = [row.metrics[name] for name in _losses_of(tuple(row.metrics))]
    total = sum(parts)
    return -math.log(total) if parts and math.isfinite(total) and total > 0.0 else None


@lru_cache(64)
def _losses_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Which metrics are losses of the validation: the same ones in every epoch of a training."""
    return tuple(name for name in names if "loss" in name.lower() and "train" not in name.lower())


def _worse_by(rated: list[tuple[EpochRow, float]], config: OverfittingConfig) -> tuple[EpochRow, float] | None:
    """The best epoch, and the share by which the last ones are worse; None: they are not."""
    rows, values = [row for row, _ in rated], [value for _, value in rated]
    smooth = _smooth(values)
    best = max(range(len(smooth)), key=smooth.__getitem__, default=0)
    if len(smooth) <= config.epochs or len(smooth) - 1 - best < config.epochs:
        return None
    noise = statistics.median(abs(b - (a + c) / 2.0) for a, b, c in zip(values, values[1:], values[2:], strict=False))
    worse = smooth[best] - smooth[-1]
    if worse < max(math.log1p(config.worse), NOISE * noise) or not _trains_on(rows, best):
        return None
    around = range(best, best + NEAR)
    return rows[max(around, key=values.__getitem__)], math.expm1(worse)


def _smooth(values: list[float]) -> list[float]:
    """The median of each NEAR values in a row."""
    return [sorted(values[at : at + NEAR])[NEAR // 2] for at in range(len(values) - NEAR + 1)]


def _trains_on(rows: list[EpochRow], best: int) -> bool:
    """The training loss fell since the best epoch."""
    means = [row.loss_sum / row.loss_count for row in rows if row.loss_count]
    if len(means) != len(rows) or min(means) <= 0.0:
        return False
    smooth = _smooth(means)
    return smooth[-1] < (1.0 - TRAIN_FALL) * smooth[best]
