"""A setting that jumped for no known reason, and whether the loss has come back since. Pure, O(1) for a batch.

The level of the loss from before the jump is kept: later ones follow the loss wherever it goes.
"""

from __future__ import annotations

import math

from monitor.core.model import Position
from monitor.core.state.learned import Learned, SettingJump
from monitor.core.state.levels import NEWEST, margin, newest_level
from trainer_hooks.wire.messages import SettingChanged

JUMPED = FALLEN = math.log(3.0)  # a loss that went up by so much and then down by so much is of a model that died
SHORT_WAIT = 32  # batches: the known spikes that healed were back after 30
WAIT_SHARE = 0.1  # of what is left: in a training of 160 batches nothing has 100 to come back
ACCEPTED_BATCHES = 1000  # away from its level: what the loss is now is what the training is like


def begin(learned: Learned, change: SettingChanged, at: Position) -> None:
    """A setting has moved so that the training may come apart. While the loss is away from an earlier jump that counts.

    Of a loss without a level nothing can be said.
    """
    jump, loss = learned.jump, learned.signals.get("loss")
    if loss is None or not loss.warm or (jump is not None and not jump.back):
        return  # the groups of an optimizer jump together, and the first one counts
    if jump is None or not jump.off:
        learned.jump = SettingJump(at, loss.level, margin(loss), change.name, change.old)
    else:
        jump.name, jump.old, jump.back = change.name, change.old, 0


def note_change(learned: Learned, change: SettingChanged, count: int, *, loosened: bool) -> None:
    """A setting changed at batch `count`. `loosened`: its new value is still that far from the one before the jump."""
    jump = learned.jump
    if jump is not None and jump.name == change.name and not loosened and not jump.back:
        jump.back, jump.off = count, int(jump.off > 0 and not jump.calm)


def forget(learned: Learned) -> None:
    """The levels of before do not compare with what comes."""
    learned.jump = None


def follow(learned: Learned, calm_batches: int) -> None:
    """A loss has been learned. After so many batches at its level the jump did no harm."""
    jump = learned.jump
    if jump is None:
        return
    loss = learned.signals["loss"]
    jump.top = max(jump.top, loss.scaled - jump.level)
    now = newest_level(loss)
    if now is not None and (now > jump.level + jump.margin or (jump.top > JUMPED and now < jump.level - FALLEN)):
        jump.off, jump.calm = jump.off + 1, 0
    else:
        jump.calm += 1
        jump.off = jump.off if jump.calm < NEWEST else 0
    if jump.calm >= calm_batches or jump.off >= ACCEPTED_BATCHES:
        learned.jump = None


def is_worse_than_at_first(learned: Learned, jump: SettingJump) -> bool:
    """True where the loss lies above the level of the first batches too: what was learned is lost."""
    loss = learned.signals["loss"]
    now = newest_level(loss)
    return now is not None and now > max(jump.level, loss.start) + jump.margin


def wait_of(jump: SettingJump, left: int | None, now: int, most: int) -> int:
    """So many batches the loss has to come back. `left`: from batch `now` to the end; None: not known.

    A short training has less time, by what was left when the setting came back. Where it stands, it may be meant.
    """
    if left is None or not jump.back:
        return most
    return min(most, max(SHORT_WAIT, round(WAIT_SHARE * (left + now - jump.back))))
