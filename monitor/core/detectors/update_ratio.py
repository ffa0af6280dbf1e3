"""Steps change the weights by next to nothing, or by far too much."""

from __future__ import annotations

import statistics

from pydantic import Field, model_validator

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import contradiction
from monitor.core.state.occasions import UPDATE
from monitor.core.state.updates import UpdateSample
from monitor.core.state.view import RunView

BEFORE_MIN = 8  # earlier samples that make a level of its own
RATE_SHARE = 0.01  # below this share of the highest learning rate small updates are the schedule's
WARMUP_BATCHES = 500  # in which weights that start at zero grow by many times their size


class UpdateRatioConfig(DetectorConfig):
    """Steps change the weights by next to nothing, or by far too much."""

    low: float = Field(
        1e-8,
        gt=0,
        description="A step that changes the weights by less than this ratio, norm of the change by norm of the "
        "weights, is too small. Below 1e-8 weights of 32 bits hardly move.",
    )
    high: float = Field(
        0.1,
        gt=0,
        description="A step that changes the weights by more than this ratio, norm of the change by norm of the "
        "weights, is too large. About 1e-3 is usual, so 0.1 is a hundred times too much.",
    )
    factor: float = Field(
        100.0,
        gt=1,
        description="The ratio may rise or fall this many times against earlier samples at the same learning rate. "
        "Healthy runs stay well within 100 times.",
    )
    samples: int = Field(
        3,
        ge=2,
        le=8,
        description="This many samples in a row must all be outside. The ratio is measured seldom, and one odd step "
        "gives no finding.",
    )

    @model_validator(mode="after")
    def _leaves_room(self) -> UpdateRatioConfig:
        if self.low >= self.high:
            text = f"{self.low:g} is not below high ({self.high:g}), so every step is outside; write a smaller number"
            raise contradiction("low", text)
        return self


@register("update_ratio", UpdateRatioConfig, Family.UPDATE, Moment.BATCH, at_most=Severity.WARNING, needs=UPDATE)
def update_ratio(run: RunView, config: UpdateRatioConfig) -> Finding | None:
    """`samples` in a row outside `low` to `high`, or `factor` times off the level of those before, rate for rate.

    A ratio near nothing at a learning rate that is none: the optimizer is not applied, the weights are frozen, or the
    change is lost in their precision. Silent where the schedule itself goes to nothing, and at the start.
    """
    kept = [sample for sample in run.learned.updates.samples if sample.count > WARMUP_BATCHES]
    if len(kept) < config.samples or kept[-1].count != run.at.count:
        return None
    last, before = kept[-config.samples :], kept[: -config.samples]
    if last[-1].rate <= RATE_SHARE * run.learned.updates.highest_rate:
        return None
    now = statistics.median(sample.ratio for sample in last)
    if all(sample.ratio < config.low for sample in last):
        return _finding(run, last[0], now, config.low, "steps hardly change the weights")
    if all(sample.ratio > config.high for sample in last):
        return _finding(run, last[0], now, config.high, "steps change the weights by far too much")
    return _off_its_level(run, config, last, before)


def _off_its_level(
    run: RunView, config: UpdateRatioConfig, last: list[UpdateSample], before: list[UpdateSample]
) -> Finding | None:
    level = statistics.median(map(_by_rate, before)) if len(before) >= BEFORE_MIN else 0.0
    if level <= 0.0:
        return None
    off = [_by_rate(sample) / level for sample in last]
    if min(off) > config.factor or max(off) < 1.0 / config.factor:
        ratio = statistics.median(off)
        what = f"steps change the weights {ratio:.3g} times as much as before at the same learning rate"
        now = statistics.median(sample.ratio for sample in last)
        return _finding(run, last[0], now, level * last[-1].rate, what)
    return None


def _by_rate(sample: UpdateSample) -> float:
    return sample.ratio / sample.rate if sample.rate > 0.0 else 0.0


def _finding(run: RunView, first: UpdateSample, value: float, limit: float, what: str) -> Finding:
    return run.finding(
        Severity.WARNING, since=run.before(run.at.count - first.count),
        signal="update_ratio", value=value, limit=limit,
        summary=f"{what}: |change| / |weights| is {value:.3g}",
    )  # fmt: skip
