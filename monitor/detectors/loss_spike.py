"""The loss jumps far above its own spread."""

from __future__ import annotations

import math

from monitor.detectors import Moment, register
from monitor.model import Finding, Severity
from monitor.policy.settings import LossSpike
from monitor.state.signals import Signal
from monitor.state.view import RunView

PEAKS = 2.5  # a single jump is told where it is this many times the largest that turned out to be noise
HELD = 10  # samples that must all be high at the end of the wait
NEAR = 0b111  # loss and norm agree where both were flagged within 3 batches


@register("loss_spike", Moment.BATCH)
def loss_spike(run: RunView, config: LossSpike) -> Finding | None:
    """A jump is told at once; a warning is one that moved the norm too, lasts three batches, or outlasts the wait.

    Dated to the first high batch. Blind to a slow rise (see divergence) and in the warm-up.
    """
    loss = run.signal("loss")
    if loss is None or not loss.recent & 1 or loss.seen < config.warmup_batches:
        return None
    if loss.away < math.log(config.ratio):
        return None
    since = run.before(loss.spell - 1)
    level, now = loss.unscaled(loss.level), loss.unscaled(loss.scaled)
    what = f"loss {now:.4g} against a level of {level:.4g}"
    if loss.spell >= config.wait_batches and _stayed(loss):
        if loss.spell % config.wait_batches:
            return None
        severity = Severity.CRITICAL if config.act else Severity.WARNING
        summary = f"{what}: it has not come back in {loss.spell} batches"
    elif not _told(loss, config):
        return None
    elif _norm_agrees(run):
        severity, summary = Severity.WARNING, f"{what}, and the gradient norm jumped with it"
    elif loss.recent & NEAR == NEAR:
        severity, summary = Severity.WARNING, f"{what}, for the third batch in a row"
    else:
        severity, summary = Severity.INFO, f"{what}, {loss.up:.0f} of its spreads"
    return run.finding(
        "loss_spike", "loss", severity, since=since, signal="loss", value=now, limit=level, summary=summary
    )


def _told(loss: Signal, config: LossSpike) -> bool:
    """One jump beyond any noise there was, or two flagged within three batches."""
    return loss.up > max(config.spreads, PEAKS * loss.peak) or (loss.recent & NEAR).bit_count() >= 2


def _stayed(loss: Signal) -> bool:
    return loss.low_of_last(HELD) > loss.level + loss.limit * loss.spread


def _norm_agrees(run: RunView) -> bool:
    norm = run.signal("grad_norm")
    return norm is not None and norm.recent & NEAR != 0
