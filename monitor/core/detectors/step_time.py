"""Batches take longer, all of them."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import whole_percent
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import TIME, TIMES_16
from monitor.core.state.pace import BLOCK, explained
from monitor.core.state.signals import RING
from monitor.core.state.stats import BLOCKS_FIRST
from monitor.core.state.view import RunView

STRIDE = 16  # batches between two looks
PERIOD_MAX = 4096  # batches of an epoch that are watched for a period before the first finding


class StepTimeConfig(DetectorConfig):
    """All batches take longer than ever before, and what they hold does not explain it."""

    ratio: float = Field(
        1.25,
        gt=1.1,
        description="The fast quarter of the last 64 batches must be this many times slower than ever before. Single "
        "batches of six healthy runs stayed below 1.28 times, and a quarter of 64 varies less.",
    )


@register("step_time", StepTimeConfig, Family.SPEED, Moment.BATCH, at_most=Severity.WARNING, needs=TIME | TIMES_16)
def step_time(run: RunView, config: StepTimeConfig) -> Finding | None:
    """The fast quarter of the last 64 batches is slower by `ratio` than that of any block of batches before.

    Pauses, saves and slow batches between fast ones leave the fast quarter alone; what comes back with every epoch
    is in the blocks of the first; what the batches hold (sequence length, image size, instances) explains as much.
    Blind to less than a whole epoch of pattern, and for the first 1,024 batches.
    """
    took = run.signal("batch_s")
    if took is None or not took.warm or took.seen % STRIDE or run.batch is None:
        return None
    times = run.learned.times
    needed = max(BLOCKS_FIRST, min(run.batch.batches_per_epoch, PERIOD_MAX) // RING + 1)
    if times.seen <= needed or took.slack:
        return None
    low, ratio = took.quantile(0.25), math.log(config.ratio)
    if low - times.high < ratio or low - times.high - _more_work(run) < ratio:
        return None
    now, before = math.exp(low), math.exp(times.high)
    return run.finding(
        Severity.WARNING,
        since=run.before(RING - 1),
        signal="batch_s",
        value=now,
        limit=before * config.ratio,
        summary=f"batches take {now:.3g} s even where they are fast, "
        f"{whole_percent(now / before - 1)} more than ever before{_waits(run)}",
    )


def _more_work(run: RunView) -> float:
    """How much slower, in log space, the last batches may be for what they hold: longer sequences, larger images."""
    pace = run.learned.pace
    before = pace.slowest or next(iter(pace.waiting), None)
    if before is None or not pace.window:
        return 0.0
    return explained(max(pace.window[-(RING // BLOCK) :], key=lambda level: level.work), before)


def _waits(run: RunView) -> str:
    share = run.signal("wait_share")
    if share is None or not share.warm:
        return ""
    return f"; {whole_percent(math.exp(share.quantile(0.5)))} of it waits for data"
