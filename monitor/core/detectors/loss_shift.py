"""The loss moves to a higher level."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.loss_level import RECENT, is_far, shift
from monitor.core.state.occasions import LOSS_ABOVE
from monitor.core.state.view import RunView


class LossShiftConfig(DetectorConfig):
    """The median of the last eight losses lies well above that of the thirty before."""

    ratio: float = Field(
        1.15,
        gt=1,
        description="The median of eight losses must be more than this many times the median before. It must also lie "
        "far outside their noise; see spreads.",
    )
    spreads: PositiveFloat = Field(
        4.16,
        description="The median must have moved by this many standard deviations, in log space. On public logs a lower "
        "limit warned of more healthy runs.",
    )
    ratio_large: float = Field(
        2.0,
        gt=1,
        description="From this many times the median on, spreads_large is enough. A loss that has doubled needs less "
        "proof.",
    )
    spreads_large: PositiveFloat = Field(
        3.15,
        description="So many standard deviations are enough where the loss is at ratio_large. The value was found on "
        "public logs.",
    )


@register("loss_shift", LossShiftConfig, Family.LOSS, Moment.BATCH, at_most=Severity.WARNING, needs=LOSS_ABOVE)
def loss_shift(run: RunView, config: LossShiftConfig) -> Finding | None:
    """A new, higher level, small as it may be, where the loss was calm before. Dated to the first of eight losses.

    Blind in the first 32 losses, and to a loss that may be negative. For 64 losses after a rise of the learning rate or
    another declared change only a level above three times the one before counts.
    """
    loss, level = run.signal("loss"), run.learned.loss_level
    if loss is None or not level.occasions & LOSS_ABOVE:
        return None
    above, spread, middle = shift(level, loss)
    if not is_far(level, loss, above, spread, config):
        return None
    now, limit = loss.unscaled(middle + above), loss.unscaled(middle)
    return run.finding(
        Severity.WARNING,
        since=run.before(RECENT - 1),
        signal="loss",
        value=now,
        limit=limit,
        summary=f"the median of the last {RECENT} losses is {now:.4g}; before it was {limit:.4g}",
    )
