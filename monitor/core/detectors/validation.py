"""A metric of the validation is not finite, or fell to zero."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import EpochEnded

# Of 1,000 drawn curves of 100 epochs, one in eight of them at zero, 2 % are longer at zero once; of the longest time
# itself 63 % are.
LONGER = 3


class ValidationConfig(DetectorConfig):
    """The fitness of the validation is not finite any more, or fell to zero. Other metrics only inform."""

    fell_from: float = Field(
        0.05,
        gt=0,
        description="A fall to zero is reported if the fitness was above this value before. A fitness that never left "
        "zero has not fallen to it.",
    )
    epochs_at_zero: int = Field(
        3,
        ge=1,
        description="A fitness that fell to zero informs, and warns once this many validations in a row were at zero, "
        "and more than three times as many as ever before in this training. The metrics of a small data set fall to "
        "zero for an epoch or two and come back.",
    )


@register("validation", ValidationConfig, Family.VALIDATION, Moment.EVENT, at_most=Severity.WARNING)
def validation(run: RunView, config: ValidationConfig) -> Finding | None:
    """The fitness stays at zero or is not finite after it was above zero, or other metrics with it: a warning.

    It often means damaged BatchNorm statistics or EMA weights: both are used in validation only. Other metrics that are
    not finite only inform while the fitness is sound or there is none: half precision overflows in the losses of a
    validation of many healthy trainings, and the average precision of a class without samples is always NaN.
    """
    ended = run.event
    if not isinstance(ended, EpochEnded) or run.rank != 0:
        return None
    bad = [name for name, value in ended.metrics.items() if not math.isfinite(value)]
    fell = ended.fitness is not None and ended.fitness <= 0.0
    before = _best_before(run, ended.epoch) if fell and not bad else 0.0  # it looks at every epoch: seldom asked
    if bad:
        summary = f"validation of epoch {ended.epoch}: {', '.join(bad[:4])} not finite{_trains(run)}"
        signal, value, limit = bad[0], math.nan, 0.0
        severity = Severity.WARNING if not _is_sound(ended) and _were_finite(run, ended, bad) else Severity.INFO
    elif ended.fitness is not None and before > config.fell_from:
        now, most = _zeros(run)
        stays = f", for {now} validations in a row" if now > 1 else ""
        summary = f"validation of epoch {ended.epoch}: fitness fell to {ended.fitness:g}{stays}; it was {before:.4g}"
        signal, value, limit = "fitness", ended.fitness, config.fell_from
        severity = Severity.WARNING if now >= max(config.epochs_at_zero, LONGER * most + 1) else Severity.INFO
    else:
        return None
    return run.finding(
        severity, since=run.at, signal=signal, value=value, limit=limit,
        summary=summary,
    )  # fmt: skip


def _is_sound(ended: EpochEnded) -> bool:
    """Nothing says that the model is damaged: what is chosen by is a number above zero, or there is no such thing."""
    return ended.fitness is None or (math.isfinite(ended.fitness) and ended.fitness > 0.0)


def _were_finite(run: RunView, ended: EpochEnded, names: list[str]) -> bool:
    rows = [row for row in run.training.epochs if row.epoch < ended.epoch]
    return any(math.isfinite(row.metrics.get(name, math.nan)) for row in rows for name in names)


def _best_before(run: RunView, epoch: int) -> float:
    rows = run.training.epochs
    return max((row.fitness for row in rows if row.epoch < epoch and row.fitness is not None), default=0.0)


def _zeros(run: RunView) -> tuple[int, int]:
    """How many of the newest validations were at zero, and how many at most between two that were not."""
    rows = [row for row in run.training.epochs if row.generation == run.at.generation and row.fitness is not None]
    lengths = [0]  # of the zeros after each one that is above
    for row in rows:
        if row.fitness is not None and row.fitness <= 0.0:
            lengths[-1] += 1
        else:
            lengths.append(0)
    return lengths[-1], max(lengths[1:-1], default=0)


def _trains(run: RunView) -> str:
    loss = run.signal("loss")
    return f", while the loss is {loss.last:.4g} in training" if loss and loss.last is not None else ""
