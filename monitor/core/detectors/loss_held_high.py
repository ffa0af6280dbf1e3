"""The loss stands far above its level for three rows."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.loss_level import HELD, held, is_far
from monitor.core.state.occasions import LOSS_ABOVE
from monitor.core.state.view import RunView


class LossHeldHighConfig(DetectorConfig):
    """Three losses in a row lie far above those before them."""

    ratio: float = Field(
        1.5,
        gt=1,
        description="The lowest of three losses in a row must be more than this many times the median of those before. "
        "It must also lie far outside their noise; see spreads.",
    )
    spreads: PositiveFloat = Field(
        4.42,
        description="The lowest of the three must lie this many standard deviations above the median, in log space. "
        "On public logs a lower limit warned of more healthy runs.",
    )
    ratio_large: float = Field(
        2.0,
        gt=1,
        description="From this many times the median on, spreads_large is enough. A loss that has doubled needs less "
        "proof.",
    )
    spreads_large: PositiveFloat = Field(
        2.39,
        description="So many standard deviations are enough where the loss is at ratio_large. The value was found on "
        "public logs.",
    )


@register("loss_held_high", LossHeldHighConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=LOSS_ABOVE)
def loss_held_high(run: RunView, config: LossHeldHighConfig) -> Finding | None:
    """The lowest of three losses lies above the median of up to 35 before. Dated to the first of them.

    Blind in the first 16 losses, and to a loss that may be negative. For 64 losses after a rise of the learning rate or
    another declared change only a loss above three times the median counts.
    """
    loss, level = run.signal("loss"), run.learned.loss_level
    if loss is None or not level.occasions & LOSS_ABOVE:
        return None
    above, spread, middle = held(level, loss)
    if not is_far(level, loss, above, spread, config):
        return None
    now, limit = loss.unscaled(middle + above), loss.unscaled(middle)
    return run.finding(
        Severity.WARNING,
        since=run.before(HELD - 1),
        signal="loss",
        value=now,
        limit=limit,
        summary=f"the last {HELD} losses are {now:.4g} or more; the median before was {limit:.4g}",
    )
