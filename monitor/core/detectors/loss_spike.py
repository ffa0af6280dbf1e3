"""The loss jumps far above its own spread."""

from __future__ import annotations

import math

from monitor.core.detectors import Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import LossSpike
from monitor.core.state.signals import NEAR, SHORT_SAMPLES, Signal
from monitor.core.state.view import RunView

Judged = tuple[Severity, str]


@register("loss_spike", Moment.BATCH)
def loss_spike(run: RunView, config: LossSpike) -> Finding | None:
    """A jump is told at once: a large one, one that moved the norm too, one that lasts, as a warning; else for people.

    Dated to the first high batch. Blind to a slow rise (see divergence) and to the first four batches; within
    `warmup_batches` only a jump above everything before it counts.
    """
    loss = run.signal("loss")
    if loss is None or not (loss.recent & 1 or loss.short_mean_high) or loss.away < math.log(config.ratio):
        return None
    if loss.seen < config.warmup_batches and not loss.above_all_before:
        return None
    judged = _judged(run, loss, config)
    if judged is None:
        return None
    severity, how = judged
    level, now = loss.unscaled(loss.level), loss.unscaled(loss.scaled)
    return run.finding(
        "loss_spike",
        "loss",
        severity,
        since=run.before((loss.streak or loss.risen()) - 1),
        signal="loss",
        value=now,
        limit=level,
        summary=f"loss {now:.4g} against a level of {level:.4g}{how}",
    )


def _judged(run: RunView, loss: Signal, config: LossSpike) -> Judged | None:
    if loss.streak >= config.wait_batches and loss.sustained:
        if loss.streak % config.wait_batches:
            return None
        return Severity.CRITICAL if config.act else Severity.WARNING, f": it has not come back in {loss.streak} batches"
    jumped = loss.recent & 1 and loss.jumped(config.spreads)
    if jumped and (what := _seconded(run, loss, config)):
        return Severity.WARNING, what
    if loss.short_mean_high and loss.short > math.log(config.ratio):
        times = math.exp(loss.short)
        return Severity.WARNING, f", and {times:.3g} times as high over the last {SHORT_SAMPLES} batches"
    return (Severity.INFO, f", {loss.up:.0f} of its spreads") if jumped else None


def _seconded(run: RunView, loss: Signal, config: LossSpike) -> str:
    """What makes a jump more than one odd batch; empty: nothing does."""
    norm = run.signal("grad_norm")
    if norm is not None and norm.recent & NEAR:
        return ", and the gradient norm jumped with it"
    if loss.recent & NEAR == NEAR:
        return ", for the third batch in a row"
    return f", {loss.up:.0f} of its spreads" if loss.away > math.log(config.ratio_alone) else ""
