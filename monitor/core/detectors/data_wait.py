"""The training waits for its data."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import whole_percent
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import TIME, WAITS_32
from monitor.core.state.view import RunView

STRIDE = 32  # batches between two looks


class DataWaitConfig(DetectorConfig):
    """The training is input-bound: nearly every batch waits for the data loader."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Three of four batches must wait for data for this share of their time, from 0 to 1. At 0.5 the "
        "device is idle for half of the time.",
    )


@register("data_wait", DataWaitConfig, Family.SPEED, Moment.BATCH, at_most=Severity.INFO, needs=TIME | WAITS_32)
def data_wait(run: RunView, config: DataWaitConfig) -> Finding | None:
    """Three of four of the last 64 batches waited for the loader for `share` of their time.

    Blind to single waits, and to a loader that lags every few batches.
    """
    share = run.signal("wait_share")
    if share is None or not share.warm or share.seen % STRIDE or share.scaled < math.log(config.share):
        return None
    low = math.exp(share.quantile(0.25))
    if low < config.share:
        return None
    return run.finding(
        Severity.INFO,
        since=run.before(len(share.ring) - 1),
        signal="data_wait_s",
        value=low,
        limit=config.share,
        summary=f"input-bound: three of four batches wait for data for {whole_percent(low)} of their time or more",
    )
