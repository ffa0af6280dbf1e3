"""Kinds of healthy training, each by its noise, scale and pace, and what one batch of it measures. Pure but for chance.

Noise: the kinds of facts about running trainings: losses whose noise grows with them (log-normal), mini-batch means
(Gaussian), heavy tails (Student t of three degrees of freedom), losses that remember (AR(1)).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20
RESERVED = int(4.2 * GIB)
ALLOCATED = int(3.0 * GIB)
UPDATE_STRIDE = 200  # batches from one sample of the update's size to the next
Noise = Callable[[random.Random, float], float]  # a factor around 1, from the one before it


def gaussian(sigma: float) -> Noise:
    """Symmetric: a mean over many samples."""
    return lambda draw, before: abs(1.0 + sigma * draw.gauss(0.0, 1.0))


def lognormal(sigma: float) -> Noise:
    """Grows with its level."""
    return lambda draw, before: math.exp(sigma * draw.gauss(0.0, 1.0))


def student3(sigma: float) -> Noise:
    """Heavy tails: a Student t of three degrees of freedom."""

    def factor(draw: random.Random, before: float) -> float:
        chi = math.hypot(draw.gauss(0.0, 1.0), draw.gauss(0.0, 1.0), draw.gauss(0.0, 1.0))
        return abs(1.0 + sigma * math.sqrt(3.0) * draw.gauss(0.0, 1.0) / chi)

    return factor


def remembering(rho: float, sigma: float) -> Noise:
    """AR(1) in log space; `sigma` is the deviation of a single sample."""
    fresh = sigma * math.sqrt(1.0 - rho * rho)
    return lambda draw, before: math.exp(rho * math.log(before) + fresh * draw.gauss(0.0, 1.0))


PLAIN = lognormal(0.1)


@dataclass(slots=True)
class Batch:
    """What one batch measures. A fault changes it before it is told. None: not known."""

    loss: float
    norm: float | None
    took_s: float
    wait_s: float | None
    rate: float | None
    size: int
    scale: float | None = None
    overflow: bool = False
    parts: tuple[float, ...] = ()
    damage: int = 0  # bits of Nonfinite beyond those that loss and norm show
    guarded: bool = True  # False: a bad step goes through
    reserved: int = RESERVED
    allocated: int = ALLOCATED
    instances_max: int | None = None
    length: int | None = None  # of the longest sequence
    update_ratio: float | None = None  # |change of the weights| / |weights|; sampled
    odd: bool = False  # the last, smaller batch of an epoch


@dataclass(frozen=True)
class Kind:
    """One kind of training. Seconds, bytes; `*_spread` are deviations in log space."""

    name: str
    start: float = 6.0  # the loss falls from here ...
    floor: float = 1.2  # ... towards this, as a power of the batches
    noise: Noise = PLAIN
    signed: float = 0.0  # of a reward-like loss: the deviation around 0
    norm: float = 2.0
    norm_spread: float = 0.35
    batch_s: float = 0.2
    batch_spread: float = 0.08
    hiccups: float = 0.003  # share of batches that take six times as long
    wait_share: float = 0.05
    length_spread: float = 0.0  # lengths differ: time, loss and memory follow them
    size: int = 16
    rate: float = 0.01
    warmup: int = 0  # batches in which the learning rate rises from 0
    scaled: bool = False  # float16: there is a loss scale
    accumulate: int = 1  # batches to an optimizer step
    parts: tuple[float, ...] = ()  # shares of the loss
    epoch: int = 1000  # batches
    odd_last: bool = True  # the last batch of an epoch is smaller


@dataclass
class Source:
    """One training of a kind, batch by batch."""

    kind: Kind
    draw: random.Random
    before: float = 1.0  # the factor of the last batch's noise
    growths: int = 0  # batches since the scaler last halved or doubled
    scale: float = 65536.0

    def batch(self, at: int) -> Batch:
        """What batch `at` (from 0) measures."""
        kind, draw = self.kind, self.draw
        self.before = factor = kind.noise(draw, self.before)
        level = kind.floor + (kind.start - kind.floor) / math.sqrt(1.0 + at / 50.0)
        longer = math.exp(kind.length_spread * draw.gauss(0.0, 1.0)) if kind.length_spread else 1.0
        loss = level * factor * longer**0.2 if not kind.signed else kind.signed * draw.gauss(0.0, 1.0) + 0.05 * level
        took_s = kind.batch_s * longer * math.exp(kind.batch_spread * draw.gauss(0.0, 1.0))
        if draw.random() < kind.hiccups:
            took_s *= 6.0
        odd = kind.odd_last and at % kind.epoch == kind.epoch - 1
        batch = Batch(
            loss, self._norm(at), took_s, min(kind.wait_share * math.exp(draw.gauss(0.0, 0.8)), 0.4) * took_s,
            kind.rate * min(1.0, (at + 1) / kind.warmup) if kind.warmup else kind.rate, kind.size, odd=odd,
            allocated=ALLOCATED + int((20.0 * draw.random() + 200.0 * kind.length_spread * longer) * MIB),
            parts=tuple(share * loss for share in kind.parts),
            length=int(256 * longer) if kind.length_spread else None,
            update_ratio=1e-3 * math.exp(0.2 * draw.gauss(0.0, 1.0)) if at % UPDATE_STRIDE == 0 else None,
        )  # fmt: skip
        if odd:
            batch.size = max(kind.size // 2 - 1, 1)
        if kind.scaled:
            self._scale(batch)
        return batch

    def _norm(self, at: int) -> float | None:
        kind = self.kind
        if (at + 1) % kind.accumulate:
            return None
        falls = math.pow(1.0 + at / 500.0, -0.2)
        return kind.norm * falls * math.exp(kind.norm_spread * self.draw.gauss(0.0, 1.0))

    def _scale(self, batch: Batch) -> None:
        """As torch's GradScaler: doubled after 2,000 good steps, which then overflow once in a while and halve it."""
        self.growths += 1
        if self.growths > 2000:
            self.growths, self.scale = 0, self.scale * 2.0
        elif self.growths == 1 and self.scale > 65536.0:
            self.growths, self.scale, batch.overflow = 0, self.scale / 2.0, True
            batch.norm = math.inf
        batch.scale = self.scale


YOLO = Kind("YOLO-like", start=60.0, floor=20.0, noise=lognormal(0.12), norm=12.0, parts=(0.4, 0.35, 0.25), scaled=True)
LANGUAGE = Kind(
    "LM-like", start=10.5, floor=2.6, noise=gaussian(0.02), norm=0.6, norm_spread=0.15, batch_s=1.1, size=512,
    rate=3e-4, warmup=500, epoch=5000, odd_last=False,
)  # fmt: skip
SMALL = Kind("small batches", noise=lognormal(0.5), norm=5.0, norm_spread=0.6, size=2, batch_s=0.05)
HEAVY = Kind("heavy tails", noise=student3(0.08))
REMEMBERING = Kind("AR(1)", start=3.0, floor=0.8, noise=remembering(0.8, 0.1), norm_spread=0.25, size=64)
LARGE = Kind("large batches", start=4.0, floor=0.9, noise=gaussian(0.01), norm_spread=0.1, size=4096, batch_s=2.5)
REWARD = Kind("RL-like", signed=0.8, noise=lognormal(0.3), norm=0.5, norm_spread=0.8, rate=3e-4, odd_last=False)
TINY = Kind("tiny scale", start=1e-3, floor=1e-5, noise=lognormal(0.3), norm=1e-4, norm_spread=0.4, batch_s=0.01)
LENGTHS = Kind("variable length", start=5.0, floor=1.8, noise=lognormal(0.08), length_spread=0.5, wait_share=0.1)
STEPS = Kind("accumulated", start=3.0, floor=1.0, noise=lognormal(0.2), accumulate=4, size=4)

KINDS = (YOLO, LANGUAGE, SMALL, HEAVY, REMEMBERING, LARGE, REWARD, TINY, LENGTHS, STEPS)
FAULTED = (YOLO, LANGUAGE, REMEMBERING, SMALL, LENGTHS)  # the kinds that faults are put into, in this order
