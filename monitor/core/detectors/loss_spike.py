"""The loss jumps far above its own spread."""

from __future__ import annotations

import math

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import LOSS_HIGH
from monitor.core.state.signals import NEAR, SHORT_SAMPLES, Signal
from monitor.core.state.view import RunView

Assessed = tuple[Severity, str]


class LossSpikeConfig(DetectorConfig):
    """The loss jumps far above its own spread.

    A single jump is only noted. It is a warning where the gradient norm jumps too, where it is the third batch in a
    row, where the mean of eight batches is high, or where it is very large: ratio_alone, or three times the median of
    the batches before and twice any jump there ever was. It is critical only where it has lasted wait_batches and is
    not on its way back.
    """

    act: bool = Field(
        True,
        description="With true a spike that has not come back opens an incident; with false it only warns. The "
        "default is true because a loss that stays high is lost training.",
    )
    spreads: PositiveFloat = Field(
        8.0,
        description="A jump must be this many spreads of the loss high, in log space; more is asked where the run's "
        "own noise is heavy. Eight is beyond the noise of healthy runs.",
    )
    ratio: float = Field(
        1.25,
        gt=1,
        description="A jump must also reach this many times the level of the loss. A language model that diverges "
        "from 5.2 to 6.6 moves by this much.",
    )
    wait_batches: int = Field(
        50,
        ge=10,
        le=300,
        description="A spike has this many batches to come back before it is critical. Most spikes come back by "
        "themselves: BLOOM's was gone after 30 batches.",
    )
    warmup_batches: int = Field(
        100,
        ge=64,
        description="In this many first batches a jump is reported only if it is above every earlier value. Early "
        "losses fall too fast to have a level.",
    )
    ratio_alone: float = Field(
        10.0,
        gt=1,
        description="A single batch at this many times the level is a warning by itself. Below ten times the gradient "
        "norm or further batches must confirm it, or it must be beyond every jump before; see ratio_beyond.",
    )
    ratio_beyond: float = Field(
        3.0,
        ge=3,
        description="A single batch at more than this many times the median of those before is a warning if it is also "
        "eight standard deviations away, and twice as far as any batch before, in log space.",
    )


@register("loss_spike", LossSpikeConfig, Family.LOSS, Moment.BATCH, at_most=Severity.CRITICAL, needs=LOSS_HIGH)
def loss_spike(run: RunView, config: LossSpikeConfig) -> Finding | None:
    """A jump informs at once, and warns where it is large, lasts, or moved the norm too; it is critical where it stays.

    Dated to the first high batch. Blind to a slow rise (see divergence) and to the first four batches; within
    `warmup_batches` only a jump above everything before it counts.
    """
    loss = run.signal("loss")
    if loss is None:
        return None
    found = _against_its_level(run, loss, config)
    if found is not None and found.severity is not Severity.INFO:
        return found
    return _beyond_every_jump(run, loss, config) or found


def _against_its_level(run: RunView, loss: Signal, config: LossSpikeConfig) -> Finding | None:
    if not (loss.recent & 1 or loss.short_mean_high) or loss.away < math.log(config.ratio):
        return None
    if loss.seen < config.warmup_batches and not loss.above_all_before:
        return None
    assessed = _assess(run, loss, config)
    if assessed is None:
        return None
    severity, how = assessed
    level, now = loss.unscaled(loss.level), loss.unscaled(loss.scaled)
    return run.finding(
        severity,
        since=run.before((loss.streak or loss.risen()) - 1),
        signal="loss",
        value=now,
        limit=level,
        summary=f"loss {now:.4g} against a level of {level:.4g}{how}",
    )


def _beyond_every_jump(run: RunView, loss: Signal, config: LossSpikeConfig) -> Finding | None:
    """One loss far above those before it and above any jump there was; a mean over an epoch moves more freely."""
    level = run.learned.loss_level
    if loss.signed or run.one_batch_an_epoch or level.jump <= math.log(config.ratio_beyond):
        return None
    middle, now = loss.unscaled(loss.scaled - level.jump), loss.unscaled(loss.scaled)
    return run.finding(
        Severity.WARNING,
        since=run.at,
        signal="loss",
        value=now,
        limit=middle,
        summary=f"loss {now:.4g}; the median before was {middle:.4g}, and no jump was ever half as far above it",
    )


def _assess(run: RunView, loss: Signal, config: LossSpikeConfig) -> Assessed | None:
    if loss.streak >= config.wait_batches and loss.sustained:
        if loss.streak % config.wait_batches:
            return None
        return (
            Severity.CRITICAL if config.act else Severity.WARNING,
            f": it has not come back in {batches(loss.streak)}",
        )
    jumped = loss.recent & 1 and loss.jumped(config.spreads)
    if jumped and (what := _confirmed(run, loss, config)):
        return Severity.WARNING, what
    if loss.short_mean_high and loss.short > math.log(config.ratio):
        times = math.exp(loss.short)
        return Severity.WARNING, f", and {times:.3g} times as high over the last {SHORT_SAMPLES} batches"
    return (Severity.INFO, f", {loss.up:.0f} of its spreads") if jumped else None


def _confirmed(run: RunView, loss: Signal, config: LossSpikeConfig) -> str:
    """What makes a jump more than one odd batch; empty: nothing does."""
    norm = run.signal("grad_norm")
    if norm is not None and norm.recent & NEAR:
        return ", and the gradient norm jumped with it"
    if loss.recent & NEAR == NEAR:
        return ", for the third batch in a row"
    return f", {loss.up:.0f} of its spreads" if loss.away > math.log(config.ratio_alone) else ""
