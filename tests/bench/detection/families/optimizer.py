"""Steps that are too large: learning rate, missing warm-up or clipping, exploding gradients, spikes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise, product

from tests.bench.detection.fault import Change, Fault, graded
from tests.bench.detection.kinds import LANGUAGE, Batch
from tests.bench.detection.streams import Step
from tests.bench.detection.trainer import Trainer
from trainer_hooks.wire.messages import SettingChanged

# BLOOM-176B, iterations 31215 to 31250 against 31214 (gradient norm 0.242, loss 2.199), as ratios by iteration; from
# the chronicles of bigscience/tr11-176B-ml. What was not printed lies on straight lines between the logarithms.
BLOOM_NORM = {0: 3.9, 1: 9.9, 2: 65.6, 3: 600.0, 4: 3968.0, 5: 1460.0, 7: 2687.0, 35: 1.1}
BLOOM_LOSS = {0: 1.01, 1: 1.18, 2: 1.02, 3: 1.07, 4: 2.32, 5: 1.59, 7: 1.28, 35: 1.01}
BLOOM_PEAK = 4
NORM_HIGH = 5.0
NORM_LEADS = 2  # batches by which the norm rises before the loss: one to four in the three printed logs
CLIMB = 100  # batches


def bloom(batch: Batch, since: int) -> None:
    """The one spike of BLOOM, as printed."""
    _scaled(batch, _between(BLOOM_LOSS, since), _between(BLOOM_NORM, since))


def spike(peak: float, half_life: float) -> Change:
    """The norm rises two batches before the loss, which jumps to `peak` times its level and then falls back."""

    def change(batch: Batch, since: int) -> None:
        late = since - NORM_LEADS
        loss = 1.0 + (peak - 1.0) * 0.5 ** (late / half_life) if late >= 0 else 1.0
        _scaled(batch, loss, _norm_of_spike(peak, half_life, since))

    return change


def _norm_of_spike(peak: float, half_life: float, since: int) -> float:
    late = since - NORM_LEADS
    return 1.0 + 4.0 * peak**2 * (0.3**-late if late < 0 else 0.5 ** (late / half_life))


def _first_high(norms: Iterable[float]) -> int:
    """How many batches come before the norm has five times its level, which leaves every kind's noise behind."""
    return next(at for at, norm in enumerate(norms) if norm >= NORM_HIGH)


def too_large(factor: float) -> Change:
    """What a learning rate `factor` times too large does: the norm at once, the loss over dozens of batches."""
    share = math.log10(factor)  # 0.5, 1, 2

    def change(batch: Batch, since: int) -> None:
        loss = 1.0 + 0.25 * share**2 * (1.0 - math.exp(-since / 20.0))
        if factor > 50.0:
            loss *= math.exp(min(0.08 * since, 6.0))
        _scaled(batch, loss, 1.0 + share**2 * (1.0 - math.exp(-(since + 1) / 5.0)))

    return change


def seen(factor: float, effect: Change) -> Change:
    """The same, with the rate as the hook reads it."""

    def change(batch: Batch, since: int) -> None:
        effect(batch, since)
        if batch.rate is not None:
            batch.rate *= factor

    return change


def told_by_hand(trainer: Trainer, since: int) -> Iterable[Step]:
    """The hook reports a rate that left its schedule, with no reason."""
    if since == 0:
        changed = SettingChanged(trainer.now_s, trainer.epoch, trainer.batch_in_epoch, "learning_rate", "1", "10", "")
        yield trainer.event(changed)


def unknown_rate(effect: Change) -> Change:
    """The same, where the rate is not known: it was wrong in the configuration."""

    def change(batch: Batch, since: int) -> None:
        effect(batch, since)
        batch.rate = None

    return change


def gradient(factor: float) -> Change:
    """Every gradient is `factor` times larger; an adaptive optimizer hardly minds."""
    return lambda batch, since: _scaled(batch, 1.0 + 0.02 * math.log10(factor), factor)


def unclipped(pace: float) -> Change:
    """Nothing clips: the norm grows by `pace` with each batch, the loss after it."""
    return lambda batch, since: _scaled(
        batch, math.exp(min(0.4 * pace * max(since - 5, 0), 7.0)), math.exp(min(pace * (since + 1), 18.0))
    )


def no_warm_up(height: float) -> Change:
    """The full rate from the first batches on: the loss climbs and hangs above where it was."""
    return lambda batch, since: _scaled(batch, 1.0 + height * (1.0 - math.exp(-since / 40.0)), 1.0 + 2.0 * height)


def climbing(factor: float) -> Change:
    """Slow damage: the loss climbs to so many times what it was, and stays there; the norm knows nothing of it."""
    return lambda batch, since: _scaled(batch, factor ** min((since + 1) / CLIMB, 1.0), 1.0)


def _scaled(batch: Batch, loss: float, norm: float) -> None:
    batch.loss *= loss
    batch.parts = tuple(part * loss for part in batch.parts)
    if batch.norm is not None:
        batch.norm *= norm


def _between(points: dict[int, float], at: int) -> float:
    if at >= max(points):
        return 1.0
    for (left, low), (right, high) in pairwise(points.items()):
        if left <= at < right:
            return float(low * (high / low) ** ((at - left) / (right - left)))
    return 1.0


def _faults() -> Iterator[Fault]:
    family = "optimizer"
    high = _first_high(BLOOM_NORM.values())
    name = "the spike of BLOOM"
    yield Fault(family, name, "high", "for ever", bloom, kinds=(LANGUAGE,), peak=BLOOM_PEAK, norm_onset=high)
    for (severity, peak), half_life in product(graded(1.5, 2.5, 6.0), (1.0, 10.0)):
        back = f"spike, half back after {half_life:g}"
        high = _first_high(_norm_of_spike(peak, half_life, since) for since in range(NORM_LEADS + 1))
        yield Fault(family, back, severity, "for ever", spike(peak, half_life), peak=NORM_LEADS, norm_onset=high)
    for severity, factor in graded(3.0, 10.0, 100.0):
        effect = too_large(factor)
        name = f"learning rate x{factor:g}"
        told = seen(factor, effect)
        yield Fault(family, f"{name} by hand", severity, "for ever", told, before=told_by_hand, tail=300)
        yield Fault(family, f"{name}, rates not known", severity, "for ever", unknown_rate(effect), tail=300)
        for lasts in ("1 batch", "10 batches", "for ever"):
            yield Fault(family, f"gradients x{factor:g}", severity, lasts, gradient(factor))
    for severity, height in graded(0.1, 0.3, 1.0):
        yield Fault(family, "warm-up removed", severity, "for ever", no_warm_up(height), calm=200, tail=300)
    for severity, factor in graded(1.3, 2.0, 4.0):
        name = f"loss climbs over {CLIMB} batches"
        yield Fault(family, name, severity, "for ever", climbing(factor), tail=420)
    for severity, pace in graded(0.02, 0.1, 0.5):
        yield Fault(family, "clipping removed", severity, "for ever", unclipped(pace), tail=300)


FAULTS = tuple(_faults())
