"""The level that the loss of a training had before a trouble: the best median of its blocks. Pure, O(1) for a batch.

A rolling level follows a slow rise: with it the onset of a slow divergence was dated 22 batches back, with the best
block 158. What changes the level for a known reason (a restart of the rate, other batches) begins the blocks anew.
"""

from __future__ import annotations

import math

from monitor.core.model import Position
from monitor.core.state.learned import Learned, LossBlock, LossBlocks
from monitor.core.state.signals import SPREAD_MIN, Signal

BLOCK = 32  # losses
BLOCKS_MAX = 16  # kept: 512 batches back
NEWEST = 8  # losses whose median is the present level: one spike in them says nothing
OFF_RATIO = 1.5  # times the level: below it a loss is at its level, whatever its noise
OFF_SPREADS = 3.0  # of the loss: a noisy one must be as far away
BEGAN = 1.0 / 3.0  # of that distance: where a block lies so high, the rise had begun


def take_loss(blocks: LossBlocks, loss: Signal, at: Position) -> None:
    """The loss of a batch has been learned."""
    if loss.signed and not loss.warm:  # its scale is not known yet
        if blocks.blocks or blocks.size:
            begin_anew(blocks)
        return
    if blocks.began is None:
        blocks.began, blocks.size = at, 0
    blocks.size += 1
    if blocks.size >= BLOCK:
        median = _median(loss, BLOCK)
        began = blocks.began
        blocks.blocks.append(LossBlock(began.generation, began.epoch, began.batch, began.count, median))
        del blocks.blocks[:-BLOCKS_MAX]
        blocks.best = median if blocks.best is None else min(blocks.best, median)
        blocks.began, blocks.size = None, 0


def begin_anew(blocks: LossBlocks) -> None:
    """Losses before do not compare with those that come."""
    blocks.began, blocks.size, blocks.blocks, blocks.best = None, 0, [], None


def margin(loss: Signal) -> float:
    """How far above its level a loss still counts as there, scaled."""
    return max(math.log(OFF_RATIO), OFF_SPREADS * max(loss.spread, SPREAD_MIN))


def newest_level(signal: Signal) -> float | None:
    """The median of the newest values, scaled; None: too few are known."""
    return _median(signal, NEWEST) if len(signal.ring) >= NEWEST and (signal.warm or not signal.signed) else None


def loss_is_off(learned: Learned) -> bool:
    """True where the newest losses lie above the best level that they had."""
    loss, best = learned.signals.get("loss"), learned.loss_blocks.best
    now = newest_level(loss) if loss is not None else None
    return loss is not None and now is not None and best is not None and now > best + margin(loss)


def off_since(learned: Learned) -> Position | None:
    """Where the loss began to rise from the best level that it had; None: it is there."""
    if not loss_is_off(learned):
        return None
    blocks, loss = learned.loss_blocks, learned.signals["loss"]
    limit = (blocks.best or 0.0) + BEGAN * margin(loss)
    since = blocks.began
    for block in reversed(blocks.blocks):
        if block.median <= limit:
            break
        since = block.at
    return since


def _median(signal: Signal, samples: int) -> float:
    newest = sorted(signal.newest(samples))
    return (newest[(len(newest) - 1) // 2] + newest[len(newest) // 2]) / 2.0
