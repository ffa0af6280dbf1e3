"""The gradient norm jumps far above its own spread, or climbs far above where it was."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import plural
from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import InPreset, Preset
from monitor.core.state.occasions import CLIMB_DRIFT, NORM, NORM_HIGH
from monitor.core.state.signals import NEAR, Signal
from monitor.core.state.view import RunView

DRIFT = CLIMB_DRIFT  # CUSUM of the rise above its long mean, in spreads: it has risen for dozens of steps
HELD = 10  # steps that must all stand that high: one that is falling back again is none


class GradientExplosionConfig(DetectorConfig):
    """The gradient norm jumps far above its own spread, or climbs far above where it was; often before the loss."""

    act: Annotated[
        bool,
        InPreset(
            Preset.STRICT,
            value=True,
            reason="A gradient norm that stays this high opens an incident before the loss shows it.",
        ),
    ] = Field(
        False,
        description="With true a norm that stays high opens an incident; with false it only warns. The default is "
        "false because clipping makes many such norms harmless.",
    )
    spreads: PositiveFloat = Field(
        8.0,
        description="A jump must be this many spreads of the norm high, in log space; more is asked where the run's "
        "own noise is heavy. Eight is beyond the noise of healthy runs.",
    )
    ratio: float = Field(
        5.0,
        gt=1,
        description="A jump must also reach this many times the level of the norm. A norm doubles in any healthy run.",
    )
    rise: float = Field(
        20.0,
        gt=1,
        description="A norm that climbs without a jump must reach this many times its lowest long mean. Of 60 healthy "
        "public logs with a norm none rose more than 3.4 times.",
    )
    wait_batches: int = Field(
        50,
        ge=10,
        le=300,
        description="A norm that has not come back after this many batches is reported again, as a lasting one. Most "
        "jumps are over long before 50 batches.",
    )
    warmup_batches: int = Field(
        100,
        ge=64,
        description="The norm is not judged in this many first batches. Norms change too fast there to have a level.",
    )


@register(
    "gradient_explosion",
    GradientExplosionConfig,
    Family.GRADIENT,
    Moment.BATCH,
    at_most=Severity.CRITICAL,
    needs=NORM | NORM_HIGH,
)
def gradient_explosion(run: RunView, config: GradientExplosionConfig) -> Finding | None:
    """A jump informs at once; it warns where the loss jumps too, or where the norm is still high after `wait_batches`.

    So does a norm that climbs so slowly that its level follows, at `rise` times its lowest long mean. Dated to
    the first high step. Blind in the warm-up, and on batches without an optimizer step.
    """
    norm = run.signal("grad_norm")
    if norm is None or norm.seen < config.warmup_batches or run.batch is None or run.batch.grad_norm is None:
        return None
    return _jump(run, config, norm) if norm.recent & 1 else _climb(run, config, norm)


def _jump(run: RunView, config: GradientExplosionConfig, norm: Signal) -> Finding | None:
    if norm.away < math.log(config.ratio):
        return None
    level, now = norm.unscaled(norm.level), norm.unscaled(norm.scaled)
    what = f"gradient norm {now:.4g}, {now / max(level, 1e-12):.3g} times its level"
    if norm.streak >= config.wait_batches and norm.sustained:
        if norm.streak % config.wait_batches:
            return None
        severity = Severity.CRITICAL if config.act else Severity.WARNING
        summary = f"{what}: it has not come back in {plural(norm.streak, 'step')}"
    elif not norm.jumped(config.spreads):
        return None
    elif (loss := run.signal("loss")) is not None and loss.recent & NEAR:
        severity, summary = Severity.WARNING, f"{what}, and the loss jumped with it"
    else:
        severity, summary = Severity.INFO, what
    return run.finding(
        severity, since=run.before(norm.streak - 1), signal="grad_norm",
        value=now, limit=level * config.ratio, summary=summary,
    )  # fmt: skip


def _climb(run: RunView, config: GradientExplosionConfig, norm: Signal) -> Finding | None:
    if norm.slack or norm.drift < DRIFT or norm.low_of_last(HELD) - norm.best < math.log(config.rise):
        return None
    best, now, steps = norm.unscaled(norm.best), norm.unscaled(norm.fast), norm.seen - norm.drift_from
    return run.finding(
        Severity.CRITICAL if config.act else Severity.WARNING,
        since=run.before(steps - 1), signal="grad_norm", value=now, limit=best * config.rise,
        summary=f"the gradient norm climbs: {now:.4g} on average, up from {best:.4g} within the last "
        f"{plural(steps, 'step')}",
    )  # fmt: skip
