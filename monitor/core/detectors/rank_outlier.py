"""One rank stands out among its peers."""

from __future__ import annotations

import math
import statistics

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import EVERY_64
from monitor.core.state.signals import RING
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks
RANKS_MIN = 3  # with two nothing shows which one is the outlier


class RankOutlierConfig(DetectorConfig):
    """One rank stands out among the others and stays out: its loss, its gradient norm or its time."""

    ratio: float = Field(
        1.5,
        gt=1,
        description="Three of four of a rank's last 64 batches must be this many times the median of the ranks. Ranks "
        "see different data, so their losses differ, but not by half.",
    )


@register("rank_outlier", RankOutlierConfig, Family.RANK, Moment.BATCH, at_most=Severity.WARNING, needs=EVERY_64)
def rank_outlier(run: RunView, config: RankOutlierConfig) -> Finding | None:
    """Three of four of this rank's last 64 losses, norms or times are `ratio` times the median of the ranks.

    Blind where all ranks go wrong together, and with fewer than three of them.
    """
    if run.at.count % STRIDE or len(run.training.ranks) < RANKS_MIN:
        return None
    off, name = max((_above(run, name), name) for name in ("loss", "grad_norm", "batch_s"))
    if off < math.log(config.ratio):
        return None
    return run.finding(
        Severity.WARNING,
        since=run.before(RING - 1),
        signal=name,
        value=math.exp(off),
        limit=config.ratio,
        summary=f"rank {run.rank} stands out: its {name} is {math.exp(off):.2f} times the median of the ranks",
        names_rank=True,
    )


def _above(run: RunView, name: str) -> float:
    """How far the low quarter of this rank's samples lies above the median of the ranks' short means, in log space."""
    own = run.signal(name)
    ranks = run.training.ranks.values()
    means = [s.fast for rank in ranks if (s := rank.learned.signals.get(name)) and s.warm and not s.signed]
    if own is None or not own.warm or own.signed or len(means) < RANKS_MIN:
        return 0.0
    return own.quantile(0.25) - statistics.median(means)
