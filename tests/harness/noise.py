"""What the batches of a healthy training measure, and what becomes of them where a test plants a cause. Pure.

Noise is as in real runs: log-normal, with correlated losses and a heavy tail of gradient norms.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from trainer_hooks.wire.messages import Nonfinite

MIB = 1 << 20
HEALTHY = Nonfinite(0)
FORWARD = Nonfinite.LOSS | Nonfinite.GRADIENT
PART_SHARES = (0.5, 0.3, 0.2)  # of the loss


@dataclass
class Noise:
    """The random numbers of one training. A test may change `rate` and `memory_mib` while it runs."""

    seed: int
    rate: float = 0.01
    warm_up: int = 0  # batches of a straight line up to `rate`
    accumulate: int = 1  # batches to an optimizer step
    groups: int = 2  # parameter groups
    scaler: bool = False
    clip_norm: float | None = 10.0
    unknown: tuple[str, ...] = ()  # fields of BatchEnded that this hook can't measure
    memory_mib: float = 4300.0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self._drift = self._norm_so_far = 0.0

    def values(
        self,
        count: int,
        *,
        loss: float,
        norm: float,
        bad: Nonfinite,
        bad_parts: tuple[int, ...],
        lost: float,
        part_factors: tuple[float, ...],
        overflow: bool,
        wait_s: float,
        compute_s: float,
    ) -> dict[str, Any]:
        """Fields of BatchEnded for batch `count`, from 1. The parameters are those of Simulation.noisy_batch."""
        draw = self.draw
        self._drift = 0.7 * self._drift + 0.05 * draw.gauss(0, 1)
        value = 2.0 * loss * math.exp(self._drift)
        factors = zip(PART_SHARES, part_factors, strict=True)
        parts = tuple(share * factor * value * math.exp(0.03 * draw.gauss(0, 1)) for share, factor in factors)
        if set(part_factors) != {1.0}:
            value = sum(parts)
        if bad & Nonfinite.LOSS:
            value, parts = math.nan, tuple(math.nan if i in bad_parts else part for i, part in enumerate(parts))
        grad_norm = self._norm(count, norm, bad=bad, lost=lost, overflow=overflow)
        measured = {name: known for name, known in self._measured(count).items() if name not in self.unknown}
        batch_s = wait_s + compute_s * math.exp(0.02 * draw.gauss(0, 1))
        return measured | {
            "loss": value, "parts": parts, "grad_norm": grad_norm, "batch_s": batch_s, "data_wait_s": wait_s,
        }  # fmt: skip

    def _norm(self, count: int, norm: float, *, bad: Nonfinite, lost: float, overflow: bool) -> float | None:
        """The largest of the batches that one optimizer step takes together; None: no step on this batch."""
        heavy = 4.0 if self.draw.random() < 0.004 else 1.0
        fresh = 3.0 * norm * heavy * math.exp(0.3 * self.draw.gauss(0, 1))
        self._norm_so_far = max(self._norm_so_far, fresh)
        if count % self.accumulate and not bad:
            return None
        found, self._norm_so_far = self._norm_so_far, 0.0
        return lost if bad & Nonfinite.GRADIENT or overflow else found

    def _measured(self, count: int) -> dict[str, Any]:
        """Settings, shapes and memory of a healthy batch."""
        draw = self.draw
        ramp = min(1.0, count / self.warm_up) if self.warm_up else 1.0
        return {
            "momentum": 0.9, "clip_norm": self.clip_norm, "batch_size": 16, "image_size": 640,
            "instances": round(80 * math.exp(0.3 * draw.gauss(0, 1))),
            "instances_max": round(20 * math.exp(0.4 * draw.gauss(0, 1))),
            "memory_reserved": round(self.memory_mib * MIB), "memory_allocated": round(0.7 * self.memory_mib * MIB),
            "learning_rates": (self.rate * ramp,) * self.groups,
            "loss_scale": 65536.0 if self.scaler else None,
        }  # fmt: skip
