"""One rank stands out among its peers."""

from __future__ import annotations

import math
import statistics

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import RankOutlier
from monitor.core.state.signals import RING
from monitor.core.state.view import RunView

STRIDE = 64  # batches between two looks
RANKS_MIN = 3  # of two nobody can say which is the odd one


@register("rank_outlier", Moment.BATCH)
def rank_outlier(run: RunView, config: RankOutlier) -> Finding | None:
    """Three of four of this rank's last 64 losses, norms or times are `ratio` times the median of the ranks.

    Blind where all ranks go wrong together, and with fewer than three of them.
    """
    if run.at.count % STRIDE or len(run.training.ranks) < RANKS_MIN:
        return None
    off, name = max((_above(run, name), name) for name in ("loss", "grad_norm", "batch_s"))
    if off < math.log(config.ratio):
        return None
    return run.finding(
        "rank_outlier",
        "rank",
        Severity.WARNING,
        since=run.before(RING - 1),
        signal=name,
        value=math.exp(off),
        limit=config.ratio,
        summary=f"rank {run.rank} stands out: its {name} is {math.exp(off):.2f} times the median of the ranks",
    )


def _above(run: RunView, name: str) -> float:
    """How far the low quarter of this rank's samples lies above the median of the ranks' short means, in log space."""
    own = run.signal(name)
    ranks = run.training.ranks.values()
    means = [s.fast for rank in ranks if (s := rank.learned.signals.get(name)) and s.warm and not s.signed]
    if own is None or not own.warm or own.signed or len(means) < RANKS_MIN:
        return 0.0
    return own.quantile(0.25) - statistics.median(means)
