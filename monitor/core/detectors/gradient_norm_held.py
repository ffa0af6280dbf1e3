"""The gradient norm stands far above its level for three rows."""

from __future__ import annotations

import math

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.loss_level import HELD, MAD_TO_SPREAD, OLDER, READY, RECENT, median
from monitor.core.state.occasions import NORM, NORM_FAR
from monitor.core.state.signals import Signal
from monitor.core.state.view import RunView

LEAST_SPREAD = 0.05  # of the logarithm: norms vary more than losses
DEVIATION_TO_SPREAD = 1.2533  # of the mean absolute deviation, for normally distributed values


class GradientNormHeldConfig(DetectorConfig):
    """Three gradient norms in a row lie far above those before them."""

    ratio: float = Field(
        5.0,
        ge=3,
        description="The lowest of three norms in a row must be more than this many times the median of those before. "
        "A norm doubles in any healthy run.",
    )
    spreads: PositiveFloat = Field(
        3.0,
        description="The lowest of the three must also lie this many standard deviations above the median, in log "
        "space. The value was found on public logs, of which no healthy one was warned of.",
    )


@register(
    "gradient_norm_held",
    GradientNormHeldConfig,
    Family.GRADIENT,
    Moment.BATCH,
    at_most=Severity.WARNING,
    needs=NORM | NORM_FAR,
)
def gradient_norm_held(run: RunView, config: GradientNormHeldConfig) -> Finding | None:
    """The lowest of three norms lies above the median of up to 35 before. Dated to the first of them.

    Blind in the first 16 norms, and for 300 batches after a rise of the learning rate or another declared change.
    """
    norm = run.signal("grad_norm")
    if norm is None or norm.slack or run.batch is None or run.batch.grad_norm is None or norm.seen < READY:
        return None
    above, spread, middle = _held(norm)
    if above <= math.log(config.ratio) or above < config.spreads * spread:
        return None
    now, limit = norm.unscaled(middle + above), norm.unscaled(middle)
    return run.finding(
        Severity.WARNING,
        since=run.before(HELD - 1),
        signal="grad_norm",
        value=now,
        limit=limit * config.ratio,
        summary=f"the last {HELD} gradient norms are {now:.4g} or more; the median before was {limit:.4g}",
    )


def _held(norm: Signal) -> tuple[float, float, float]:
    """The lowest of the last three norms above the median of those before, their spread, and that median.

    The spread is the larger one of these rows' own and of the long mean: norms of two kinds that take turns have none
    where one kind happens to prevail.
    """
    rows = norm.newest(RECENT + OLDER)
    before = rows[:-HELD]
    middle = median(before)
    spread = MAD_TO_SPREAD * median([abs(scaled - middle) for scaled in before])
    return min(rows[-HELD:]) - middle, max(spread, DEVIATION_TO_SPREAD * norm.spread, LEAST_SPREAD), middle
