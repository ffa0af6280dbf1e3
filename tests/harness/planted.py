"""A training told batch by batch to the real core, with a cause planted in it by the one who drives it. Virtual time.

Noise is as in real runs: log-normal, with correlated losses and a heavy tail of gradient norms. What a test does not
plant stays healthy.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from monitor.core.detectors.divergence import DivergenceConfig
from monitor.core.detectors.gradient_explosion import GradientExplosionConfig
from monitor.core.detectors.hang import HangConfig
from monitor.core.detectors.loss_spike import LossSpikeConfig
from monitor.core.engine import Core
from monitor.core.model import Entry, GenerationStarted, Incident, Input, RaiseAlert, RecordArrived, RunOpened
from monitor.core.policy.settings import Detectors, Policy
from monitor.core.state.run import RunState
from trainer_hooks.wire.messages import (
    BatchEnded,
    Counts,
    Event,
    EventSent,
    Nonfinite,
    NonfiniteSeen,
    SettingChanged,
    TrainingStarted,
)
from trainer_hooks.wire.runfolder import RunSpec

START_S = 1_763_424_000.0
MIB = 1 << 20
HEALTHY = Nonfinite(0)
NAN = math.nan
FORWARD = Nonfinite.LOSS | Nonfinite.GRADIENT
ACTING = Policy(
    detectors=Detectors(
        loss_spike=LossSpikeConfig(act=True),
        gradient_explosion=GradientExplosionConfig(act=True),
        divergence=DivergenceConfig(act=True),
        hang=HangConfig(act=True),
    )
)


@dataclass
class Planted:
    """One run whose every batch is told. `untold` names fields that this hook can't tell: they are left out."""

    seed: int
    settings: dict[str, str] = field(default_factory=dict)
    batches_per_epoch: int = 1000
    epochs: int = 50
    start_epoch: int = 1
    scaler: bool = False
    clip_norm: float | None = 10.0
    group_names: tuple[str, ...] = ("weight", "bias")
    part_names: tuple[str, ...] = ("box", "cls", "dfl")
    framework: str = "plain"
    device: str = "cuda:0"
    rate: float = 0.01
    warm_up: int = 0  # batches of a straight line up to `rate`
    accumulate: int = 1
    untold: tuple[str, ...] = ()
    name: str = "planted"

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.core = Core()
        self.entries: list[Entry] = []
        self.alerts: list[RaiseAlert] = []
        self.now_s, self.event_seq, self.generation = START_S, 0, 0
        self.counts: dict[int, Counts] = {}
        self.drift = self.gathered = 0.0
        self.memory_mib = 4300.0
        self.put(RunOpened(RunSpec(run="p", title=self.name, argv=("t",), cwd=".", created_s=START_S, act=False),
                           ACTING.model_dump_json()))  # fmt: skip
        self.restart()

    @property
    def run(self) -> RunState:
        return self.core.fleet.runs["p"]

    @property
    def incident(self) -> Incident:
        return self.run.incidents[0]

    def put(self, given: Input) -> None:
        entry = Entry(len(self.entries) + 1, self.now_s, given)
        self.entries.append(entry)
        self.alerts += [e for e in self.core.feed(entry).effects if isinstance(e, RaiseAlert)]

    def restart(self, start_epoch: int | None = None, **changed: str) -> None:
        """A new generation; `changed` settings."""
        self.generation, self.event_seq, self.counts = self.generation + 1, 0, {}
        self.start_epoch = start_epoch or self.start_epoch
        self.settings = self.settings | changed
        self.put(GenerationStarted("p", self.generation, "nonce", 1, 0))
        self.event(
            TrainingStarted(
                self.now_s, self.framework, {"torch": "2.9"}, dict(self.settings), self.part_names, self.group_names,
                (self.rate,) * len(self.group_names), self.epochs, self.start_epoch, self.batches_per_epoch, 1, 1,
                "", "", 1, self.device, "", scaler_enabled=self.scaler,
            )
        )  # fmt: skip

    def event(self, body: Event) -> None:
        self.event_seq += 1
        self.put(RecordArrived("p", self.generation, 0, EventSent(self.event_seq, body)))

    def setting(self, name: str, old: str, new: str, reason: str = "") -> None:
        """A setting changes with the next batch."""
        epoch, batch = self.place()
        self.event(SettingChanged(self.now_s, epoch, batch, name, old, new, reason))

    def place(self, rank: int = 0) -> tuple[int, int]:
        """Epoch and batch of the next batch."""
        done = self.counts.get(rank, Counts()).batches
        return self.start_epoch + done // self.batches_per_epoch, done % self.batches_per_epoch

    def calm(self, batches: int, **more: Any) -> None:
        for _ in range(batches):
            self.batch(**more)

    def batch(
        self,
        *,
        loss: float = 1.0,
        norm: float = 1.0,
        bad: Nonfinite = HEALTHY,
        bad_parts: tuple[int, ...] = (0, 1, 2),
        lost: float = NAN,
        part_factors: tuple[float, float, float] = (1.0, 1.0, 1.0),
        samples: tuple[str, ...] = (),
        first_bad: str = "",
        cured: bool = True,
        overflow: bool = False,
        rank: int = 0,
        rates: tuple[float, ...] | None = None,
        wait_s: float = 0.01,
        compute_s: float = 0.3,
        **fields: Any,
    ) -> None:
        """One batch. `loss` and `norm` are factors on the healthy level.

        `bad` says what of it is not finite, and `lost` what stands there instead of a norm.
        """
        draw, before = self.draw, self.counts.get(rank, Counts())
        epoch, index = self.place(rank)
        counts = _counted(before, bad, overflow)
        self.counts[rank] = counts
        self.drift = 0.7 * self.drift + 0.05 * draw.gauss(0, 1)
        value = 2.0 * loss * math.exp(self.drift)
        shares = zip((0.5, 0.3, 0.2), part_factors, strict=True)
        parts = tuple(share * factor * value * math.exp(0.03 * draw.gauss(0, 1)) for share, factor in shares)
        if part_factors != (1.0, 1.0, 1.0):
            value = sum(parts)
        if bad & Nonfinite.LOSS:
            value, parts = NAN, tuple(NAN if i in bad_parts else p for i, p in enumerate(parts))
        heavy = 4.0 if draw.random() < 0.004 else 1.0
        self.gathered = max(self.gathered, 3.0 * norm * heavy * math.exp(0.3 * draw.gauss(0, 1)))
        grad: float | None = lost if bad & Nonfinite.GRADIENT or overflow else self.gathered
        if counts.batches % self.accumulate and not bad:
            grad = None  # no optimizer step
        else:
            self.gathered = 0.0
        if rank == 0:
            self.now_s += wait_s + compute_s
        told = self._told(counts.batches, rates) | fields
        told = {key: v for key, v in told.items() if key not in self.untold}
        record = BatchEnded(
            self.now_s, self.now_s, epoch, index, self.batches_per_epoch, counts, loss=value, parts=parts,
            grad_norm=grad, nonfinite=int(bad), cured=bool(bad) and cured,
            batch_s=wait_s + compute_s * math.exp(0.02 * draw.gauss(0, 1)), data_wait_s=wait_s, **told,
        )  # fmt: skip
        if bad and rank == 0 and "samples" not in self.untold:
            self.event(NonfiniteSeen(self.now_s, epoch, index, int(bad), value, parts, grad, record.cured, samples,
                                     False, first_bad))  # fmt: skip
        self.put(RecordArrived("p", self.generation, rank, record))

    def _told(self, batches: int, rates: tuple[float, ...] | None) -> dict[str, Any]:
        """Settings, shapes and memory of a healthy batch."""
        draw = self.draw
        ramp = min(1.0, batches / self.warm_up) if self.warm_up else 1.0
        return {
            "momentum": 0.9, "clip_norm": self.clip_norm, "batch_size": 16, "image_size": 640,
            "instances": round(80 * math.exp(0.3 * draw.gauss(0, 1))),
            "instances_max": round(20 * math.exp(0.4 * draw.gauss(0, 1))),
            "memory_reserved": round(self.memory_mib * MIB), "memory_allocated": round(0.7 * self.memory_mib * MIB),
            "learning_rates": rates or (self.rate * ramp,) * len(self.group_names),
            "loss_scale": 65536.0 if self.scaler else None,
        }  # fmt: skip


def _counted(before: Counts, bad: Nonfinite, overflow: bool) -> Counts:
    return msgspec.structs.replace(
        before,
        batches=before.batches + 1,
        steps=before.steps + 1,
        nonfinite_batches=before.nonfinite_batches + bool(bad),
        nonfinite_loss=before.nonfinite_loss + bool(bad & Nonfinite.LOSS),
        nonfinite_gradient=before.nonfinite_gradient + bool(bad & Nonfinite.GRADIENT),
        scaler_overflows=before.scaler_overflows + overflow,
    )
