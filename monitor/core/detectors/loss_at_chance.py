"""A classifier that has learnt nothing: its loss is that of a guess."""

from __future__ import annotations

import math

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import LOSSES_64
from monitor.core.state.view import RunView

NAMES = ("num_classes", "num_labels", "n_classes", "nclasses", "classes", "nc")  # of the setting, as trainers call it
CLASSES_MIN = 2


class LossAtChanceConfig(DetectorConfig):
    """The loss of a classifier stays at the logarithm of the number of classes: it guesses."""

    classes: int = Field(
        0,
        ge=0,
        description="The number of classes of the classifier. With 0 it is taken from the settings of the training "
        "where they name it (num_classes, nc); where they do not, nothing is reported.",
    )
    tolerance: PositiveFloat = Field(
        0.02,
        lt=1,
        description="The loss may differ from the logarithm of the number of classes by this share. A classifier that "
        "learns leaves two per cent behind soon.",
    )
    batches: int = Field(
        500,
        ge=64,
        description="The loss must have stayed there for this many batches, from the first on. A hard task may need a "
        "few hundred before it moves.",
    )


@register("loss_at_chance", LossAtChanceConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=LOSSES_64)
def loss_at_chance(run: RunView, config: LossAtChanceConfig) -> Finding | None:
    """The loss began at ln(classes), is there now, and was never lower. Silent where the class count is not known.

    Silent too where the loss has several components: their sum is compared with nothing.
    """
    loss = run.signal("loss")
    if loss is None or not loss.warm or loss.signed or loss.seen < config.batches or loss.seen % 64:
        return None
    classes = config.classes or _classes(run)
    if classes < CLASSES_MIN or (run.batch and len(run.batch.parts) > 1):
        return None
    chance = math.log(math.log(classes))  # the signal is a logarithm itself
    if any(abs(level - chance) > config.tolerance for level in (loss.start, loss.level, loss.best)):
        return None
    now = loss.unscaled(loss.level)
    return run.finding(
        Severity.WARNING,
        since=run.before(loss.seen - 1),
        signal="loss",
        value=now,
        limit=math.log(classes),
        summary=f"the loss is {now:.4g}, as at the start: ln({classes}) = {math.log(classes):.4g} is a guess among "
        f"{classes} classes",
    )


def _classes(run: RunView) -> int:
    """The number of classes by the settings of the training; 0: they don't name it."""
    settings = run.training.started.settings if run.training.started else {}
    for name in NAMES:
        value = settings.get(name, "")
        if value.isdigit() and len(value) < 8:
            return int(value)
    return 0
