"""What a step of the learning rate does to the levels of loss and gradient norm. Pure.

A step that is explained moves them for a reason: they are learned anew. One that nothing explains is a reason to look
closer and none to forget: the levels stay those from before it, and the limits are lower for a while.
"""

from __future__ import annotations

import math

import msgspec

from monitor.core.model import Position
from monitor.core.state import setting_jumps
from monitor.core.state.learned import Learned, LossBlocks, RateStep
from monitor.core.state.levels import begin_anew
from monitor.core.state.loss_level import gate
from monitor.core.state.signals import Signal, boundary, look_closer
from trainer_hooks.wire.messages import BatchEnded, SettingChanged

STEP = 1.5  # a learning rate that moves by this factor at once is a restart or a step of its schedule
JUMP = 3.0  # a rise by this factor that goes beyond every rate before is no restart
BEYOND = 1.05  # times the highest rate before
REASON_BATCHES = 3  # so soon after the step its reason comes, if there is one
CLOSER_BATCHES = (50, 300)  # at least and at most; an epoch in between
MOVED = ("loss", "grad_norm")
RATE = "learning_rate"


def closer_batches(batches_per_epoch: int) -> int:
    """For how long a training is looked at more closely."""
    least, most = CLOSER_BATCHES
    return min(max(batches_per_epoch, least), most)


def take_rate(learned: Learned, rate: float, batch: BatchEnded) -> None:
    """The rate of the first group in a batch that is about to be learned."""
    before, learned.rate = learned.rate, rate
    stepped = before > 0.0 and not before / STEP < rate < before * STEP
    undoes = learned.signals["loss"].closer or (learned.jump is not None and rate < before)
    if stepped and not undoes:  # what undoes an unexplained step explains nothing either
        learned.rate_step = RateStep(batch.counts.batches, *_copied(learned))
        beyond = rate >= JUMP * before and rate > BEYOND * learned.highest_rate
        if beyond and learned.signals["loss"].warm:
            _look_closer(learned, batch)
        else:
            _forget(learned, rose=rate > before)
    learned.highest_rate = max(learned.highest_rate, rate)


def fold_reason(learned: Learned, last: BatchEnded, at: Position, change: SettingChanged) -> None:
    """The hook says why a setting of the optimizer changed, or that nothing explains it; `last` is the last batch."""
    step, learned.rate_step = learned.rate_step, None
    if (jump := learned.jump) is not None and jump.name == change.name:
        since = msgspec.structs.replace(change, old=jump.old)
        setting_jumps.note_change(learned, change, at.count, loosened=loosens(since))
    recent = step is not None and last.counts.batches - step.count < REASON_BATCHES
    if change.reason:
        if recent and not learned.unexplained and change.name.startswith(RATE):
            _forget(learned, rose=True)
    elif loosens(change):
        if recent and step is not None:
            learned.signals.update(step.before)
            learned.loss_blocks = step.blocks
            learned.loss_level.gated_until = 0
        learned.unexplained = True
        if learned.signals:
            _look_closer(learned, last)
            setting_jumps.begin(learned, change, at)


def loosens(change: SettingChanged) -> bool:
    """True where a setting moved so that a training may come apart. A trifle does not, nor does a lower rate."""
    try:
        old, new = float(change.old), float(change.new)
    except ValueError:
        return False
    if not (math.isfinite(old) and math.isfinite(new)):
        return False
    match change.name.split("/")[0]:
        case "learning_rate" | "clip_norm":
            return 0.0 < old * STEP <= new
        case "momentum":
            return (1.0 - new) * STEP <= 1.0 - old
        case "weight_decay":
            return new >= JUMP * old or old >= JUMP * new
    return False


def _look_closer(learned: Learned, batch: BatchEnded) -> None:
    for name in MOVED:
        look_closer(learned.signals[name], closer_batches(batch.batches_per_epoch))


def _forget(learned: Learned, *, rose: bool) -> None:
    learned.renewing = learned.renewing or rose  # a loss that rises with its rate does not compare with its best before
    for name in MOVED:
        learned.signals[name].closer = 0
        boundary(learned.signals[name])
    begin_anew(learned.loss_blocks)
    if rose:
        setting_jumps.forget(learned)
        gate(learned.loss_level, learned.signals["loss"])


def _copied(learned: Learned) -> tuple[dict[str, Signal], LossBlocks]:
    signals = {name: learned.signals[name] for name in MOVED}
    blocks = learned.loss_blocks
    return (
        {name: msgspec.structs.replace(signal, ring=list(signal.ring)) for name, signal in signals.items()},
        msgspec.structs.replace(blocks, blocks=list(blocks.blocks)),
    )
