"""The best level that a loss has had: the lowest median of a block of samples. Values and arithmetic only.

A rolling median follows a slow divergence and finds nothing wrong with it; the best block does not.
"""

from __future__ import annotations

import math
from statistics import median

import msgspec

from monitor.core.state.signals import Signal

BLOCK = 16  # samples: the shortest trainings have a few dozen
NEWEST = 8  # samples whose median is held against the best block's
LOST_RATIO = math.log(2.0)  # in log space: a loss at twice its best level is none of its noise ...
LOST_SPREADS = 4.0  # ... unless the loss is as noisy as that: the median of 8 stays within 2 spreads


class BestLevel(msgspec.Struct):
    """Of one rank's loss, in the scaled space of its signal."""

    best: float | None = None  # None: no block was full yet
    from_seen: int = 0  # Signal.seen at the last change after which levels differ


def take_block(level: BestLevel, loss: Signal) -> None:
    """Once for each BLOCK of samples, compare their median."""
    if loss.seen % BLOCK or loss.seen - level.from_seen < BLOCK or (loss.signed and not loss.warm):
        return
    middle = median(loss.newest(BLOCK))
    level.best = middle if level.best is None or middle < level.best else level.best


def forget(level: BestLevel, loss: Signal) -> None:
    """Batches are of another kind from here on: what was the best before does not compare."""
    level.best, level.from_seen = None, loss.seen


def limit(level: BestLevel, loss: Signal) -> float:
    """The scaled loss above which the level is lost; infinity where nothing compares."""
    if level.best is None or loss.seen - level.from_seen < NEWEST + BLOCK:
        return math.inf
    return level.best + max(LOST_RATIO, LOST_SPREADS * loss.spread)


def is_lost(level: BestLevel, loss: Signal) -> bool:
    """True where the newest losses lie far above the best level there was; False too where nothing compares."""
    most = limit(level, loss)
    return most < math.inf and median(loss.newest(NEWEST)) > most
