"""The gradient norm is not finite while the loss is."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import NORM_BAD
from monitor.core.state.view import RunView


class GradientNormBadConfig(DetectorConfig):
    """The gradient norm is NaN or infinite again and again while the loss is finite, and nobody skips the step."""

    count: int = Field(
        4,
        ge=1,
        le=64,
        description="This many batches with such a norm within window_batches are a warning. A single one is common in "
        "half precision.",
    )
    window_batches: int = Field(
        20,
        ge=1,
        description="Such norms are counted over this many batches. The value was found on public logs.",
    )


@register(
    "gradient_norm_bad", GradientNormBadConfig, Family.NONFINITE, Moment.BATCH, at_most=Severity.WARNING,
    needs=NORM_BAD,
)  # fmt: skip
def gradient_norm_bad(run: RunView, config: GradientNormBadConfig) -> Finding | None:
    """`count` norms within the window that are not finite beside a finite loss, also where none ever was finite.

    A scaler's overflows are not counted, since it skips the step: see loss_scale and overflows.
    """
    bad = [count for count in run.learned.bad_norms if count > run.at.count - config.window_batches]
    if len(bad) < config.count or bad[-1] != run.at.count:
        return None
    return run.finding(
        Severity.WARNING,
        since=run.before(run.at.count - bad[0]),
        signal="grad_norm",
        value=float(len(bad)),
        limit=float(config.count),
        summary=f"the gradient norm is not finite, but the loss is: {len(bad)} of {config.window_batches} batches",
    )
