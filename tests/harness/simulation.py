"""A training, its supervisor and the daemon's edges, simulated in virtual time around the real core.

Nothing of the core is replaced. A test gives the numbers of each batch (`batch`), or lets them be drawn with a cause
planted in them (`noisy_batch`), or says which batches are bad and lets the training run by itself (`train`), so that a
run of 41,163-batch epochs takes seconds and is the same every time.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from monitor.core.detectors.divergence import DivergenceConfig
from monitor.core.detectors.gradient_explosion import GradientExplosionConfig
from monitor.core.detectors.hang import HangConfig
from monitor.core.detectors.loss_spike import LossSpikeConfig
from monitor.core.model import (
    GenerationExited,
    RunEnded,
    Verdict,
)
from monitor.core.policy.settings import Detectors, Policy
from tests.harness.batch_counts import NO_COUNTS, counted, nonfinite_bits, skipped_by
from tests.harness.noise import HEALTHY, Noise
from tests.harness.simulated_run import RUN, SimulatedRun
from trainer_hooks.wire.messages import (
    BatchEnded,
    EpochEnded,
    Nonfinite,
    NonfiniteSeen,
    Order,
    OrderApplied,
    PlanApplied,
    SkippedBy,
    TrainingEnded,
)
from trainer_hooks.wire.plan import Plan, Settings
from trainer_hooks.wire.run_documents import Exit

GIB = 1 << 30
SUPERVISOR_PID = 999
BAD = Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.BUFFER  # what `fault` does to a batch
ACTING = Policy(
    detectors=Detectors(
        loss_spike=LossSpikeConfig(act=True),
        gradient_explosion=GradientExplosionConfig(act=True),
        divergence=DivergenceConfig(act=True),
        hang=HangConfig(act=True),
    )
)


@dataclass(frozen=True, slots=True)
class At:
    """Where the simulated trainer is, and with which settings: what a fault may depend on."""

    generation: int
    epoch: int
    batch: int
    settings: Settings | None  # of the plan in force; None: the user's own


@dataclass
class Simulation(SimulatedRun):
    """A run with its batches. What a batch does not give is None, as on the wire."""

    noise: Noise = field(default_factory=lambda: Noise(0))  # of noisy_batch
    # What `train` does:
    fault: Callable[[At], bool] = lambda at: False  # whether a batch is not finite
    cured: bool = True  # the guard puts back what a bad batch damaged
    verdict: Callable[[int], Verdict] = lambda epoch: Verdict.SOUND  # on the checkpoint of an epoch
    obey: bool = True  # False: an order is refused
    batch_s: float = 1.0
    relaunch_s: float = 30.0
    batches_max: int = 10_000_000
    rates_used: tuple[float, ...] | None = None  # on each batch; None: `rates`
    fields: Callable[[At], dict[str, Any]] = lambda at: {}  # of BatchEnded, in place of the usual ones

    @property
    def draw(self) -> random.Random:
        """Where noisy_batch takes its random numbers from."""
        return self.noise.draw

    # --- batches ----------------------------------------------------------------------------------------------------

    def batch(
        self,
        loss: float | None,
        grad_norm: float | None = None,
        *,
        rank: int = 0,
        took_s: float = 0.1,
        parts: tuple[float, ...] = (),
        rate: float = 0.1,
        overflow: bool = False,
        scale: float | None = None,
        batch_size: int | None = 16,
        reserved: int | None = None,
        allocated: int | None = None,
        wait_s: float | None = None,
        missed: int = 0,
        cured: bool = True,
        **fields: Any,
    ) -> None:
        """One batch with these numbers; the records of `missed` batches before it are lost; `fields` of BatchEnded."""
        bits = nonfinite_bits(loss, parts, None if overflow else grad_norm)
        self._batch(
            rank, bits, took_s=took_s, cured=bool(bits) and cured, overflow=overflow, missed=missed, loss=loss,
            parts=parts, grad_norm=grad_norm, learning_rates=(rate,), loss_scale=scale, batch_size=batch_size,
            memory_reserved=reserved, memory_allocated=allocated, batch_s=took_s, data_wait_s=wait_s, **fields,
        )  # fmt: skip

    def noisy_batch(
        self,
        *,
        loss: float = 1.0,
        norm: float = 1.0,
        bad: Nonfinite = HEALTHY,
        bad_parts: tuple[int, ...] = (0, 1, 2),
        lost: float = math.nan,
        part_factors: tuple[float, float, float] = (1.0, 1.0, 1.0),
        samples: tuple[str, ...] = (),
        first_bad: str = "",
        cured: bool = True,
        overflow: bool = False,
        rank: int = 0,
        wait_s: float = 0.01,
        compute_s: float = 0.3,
        **fields: Any,
    ) -> None:
        """One batch with random numbers. `loss`, `norm` and `part_factors` are factors on the healthy level.

        `bad` says what of it is not finite, and `lost` what stands there in place of a norm. Where `bad`, the samples
        of the batch are reported too, unless the hook does not know them.
        """
        values = self.noise.values(
            self.counts.get(rank, NO_COUNTS).batches + 1, loss=loss, norm=norm, bad=bad, bad_parts=bad_parts, lost=lost,
            part_factors=part_factors, overflow=overflow, wait_s=wait_s, compute_s=compute_s,
        )  # fmt: skip
        known = {name: value for name, value in fields.items() if name not in self.noise.unknown}
        reported = rank == 0 and "samples" not in self.noise.unknown
        self._batch(
            rank, int(bad), took_s=wait_s + compute_s, cured=bool(bad) and cured, overflow=overflow,
            samples=samples if reported else None, first_bad=first_bad, **(values | known),
        )  # fmt: skip

    def noisy_batches(self, batches: int, **planted: Any) -> None:
        for _ in range(batches):
            self.noisy_batch(**planted)

    def _batch(
        self,
        rank: int,
        bits: int,
        *,
        took_s: float,
        cured: bool,
        overflow: bool = False,
        missed: int = 0,
        samples: tuple[str, ...] | None = None,
        first_bad: str = "",
        **fields: Any,
    ) -> None:
        """The record of a batch, and of what was not finite in it where its `samples` are known."""
        epoch, index = self.place(rank, missed)
        before = self.counts.get(rank, NO_COUNTS)
        self.counts[rank] = counts = counted(
            before, bits, cured=cured, overflow=overflow, missed=missed,
            by_script=fields.get("skipped_by") == SkippedBy.SCRIPT,
        )  # fmt: skip
        if rank == 0:
            self.now_s += took_s
            self.batches_run += 1
        now_s = self.now_s
        if bits or overflow:
            fields.setdefault("skipped_by", str(skipped_by(cured=cured, overflow=overflow)))
        batch = BatchEnded(
            now_s, now_s, epoch, index, self.batches_per_epoch, counts, nonfinite=bits, cured=cured, **fields
        )
        if bits and samples is not None:
            self.send(
                NonfiniteSeen(
                    now_s, epoch, index, bits, batch.loss, batch.parts, batch.grad_norm, cured, samples, False,
                    first_bad,
                )
            )  # fmt: skip
        self.send(batch, rank)

    # --- a training that runs by itself -----------------------------------------------------------------------------

    def train(self) -> str:
        """Run generations until the training finished, was stopped, or `batches_max` is reached.

        Returns how it ended.
        """
        plan: Plan | None = None
        while True:
            how, plan = self._run_generation(plan)
            if plan is None:
                self.feed(RunEnded(RUN, how, ""))
                return how
            self.now_s += self.relaunch_s

    def _run_generation(self, plan: Plan | None) -> tuple[str, Plan | None]:
        """How the generation ended, and the plan that the next one starts from; None: there is no next one."""
        self.in_force = plan.settings if plan else None
        start_epoch = plan.start_epoch if plan else 1
        self.restart(start_epoch, plan=plan.id if plan else "")
        if plan:
            self.send(PlanApplied(self.now_s, plan.id, "first step", start_epoch, {}, ()))
        for epoch in range(start_epoch, self.epochs + 1):
            for batch in range(self.batches_per_epoch):
                self._usual_batch(At(self.generation, epoch, batch, self.in_force))
                if self.batches_run >= self.batches_max:
                    return "stopped", None
                if (order := self.pending) and self._obeyed(order, epoch, batch):
                    return "stopped", self.plans.get(order.plan)
            self._end_epoch(epoch)
        self.send(TrainingEnded(self.now_s, "finished", "", self.epochs, {"mAP50": 0.7}))
        self._exit(0, relaunch=False)
        return "finished", None

    def _usual_batch(self, at: At) -> None:
        """Everything as on the batch before, unless `fault` or `fields` say otherwise."""
        bad, done = self.fault(at), self.counts.get(0, NO_COUNTS).batches
        loss = math.nan if bad else 2.0 + 0.1 * math.sin(done + 1)
        ramp_batches = self.in_force.ramp_batches if self.in_force else 0
        ramp = min((done + 1) / ramp_batches, 1.0) if ramp_batches else None
        fields: dict[str, Any] = {
            "loss": loss, "parts": (loss,) * 3, "grad_norm": math.nan if bad else 5.0,
            "learning_rates": self.rates_used or self.rates, "momentum": 0.9, "weight_decay": 0.0005, "clip_norm": 10.0,
            "batch_size": 16, "memory_reserved": int((4.20 if at.epoch < 4 else 4.71) * GIB), "batch_s": self.batch_s,
            "ramp": ramp, "onset_samples_left": 0,
        }  # fmt: skip
        self._batch(
            0, int(BAD) if bad else 0, took_s=self.batch_s, cured=bad and self.cured,
            samples=(f"{at.batch}.jpg",), **(fields | self.fields(at)),
        )  # fmt: skip

    def _obeyed(self, order: Order, epoch: int, batch: int) -> bool:
        """Answer an order at a batch boundary. True: the process is gone."""
        self.pending = None
        outcome = "applied" if self.obey else "refused"
        self.send(OrderApplied(self.now_s, order.id, outcome, "", epoch, batch, {}))
        plan = self.plans.get(order.plan)
        if not self.obey:
            return False
        if order.kind == "adjust":
            self.in_force = plan.settings if plan else None
            return False
        self._exit(75, relaunch=plan is not None)
        return True

    def _exit(self, code: int, *, relaunch: bool) -> None:
        exit_ = Exit(number=self.generation, code=code, signal=None, ended_s=self.now_s)
        self.feed(GenerationExited(RUN, exit_, relaunch=relaunch))

    def _end_epoch(self, epoch: int) -> None:
        took_s, fitness = self.batch_s * self.batches_per_epoch, 0.1 * epoch
        self.send(EpochEnded(self.now_s, epoch, took_s, (2.0, 2.0, 2.0), {"mAP50": fitness}, fitness))
        digest = hashlib.sha256(f"{self.generation}/{epoch}".encode()).hexdigest()
        self.checkpoint(digest, self.verdict(epoch), epoch=epoch, size=1, is_best=True)


def supervised(**options: Any) -> Simulation:
    """A run of 8 epochs of 100 batches, as Ultralytics reports it. The policy may act on it; `train` begins it."""
    own = {"lr0": "0.0005", "momentum": "0.9", "weight_decay": "0.0005", "warmup_epochs": "5"}
    usual: dict[str, Any] = {
        "epochs": 8, "batches_per_epoch": 100, "act": True, "started": False, "supervisor_pid": SUPERVISOR_PID,
        "framework": "ultralytics", "versions": {"ultralytics": "8.4.190"}, "settings": own,
        "part_names": ("box", "cls", "dfl"), "group_names": ("weight", "bn", "bias"), "rates": (0.0005,) * 3,
        "weight_decays": (0.0005, 0.0, 0.0), "device": "cuda:0",
    }  # fmt: skip
    return Simulation(**(usual | options))


def noisy(
    seed: int,
    *,
    rate: float = 0.01,
    warm_up: int = 0,
    accumulate: int = 1,
    clip_norm: float | None = 10.0,
    unknown: tuple[str, ...] = (),
    scaler: bool = False,
    group_names: tuple[str, ...] = ("weight", "bias"),
    **options: Any,
) -> Simulation:
    """A run of 50 epochs of random batches, for noisy_batch; its policy opens an incident for whatever it can."""
    noise = Noise(seed, rate, warm_up, accumulate, len(group_names), scaler, clip_norm, unknown)
    usual: dict[str, Any] = {
        "policy": ACTING, "epochs": 50, "title": "planted", "versions": {"torch": "2.9"},
        "part_names": ("box", "cls", "dfl"), "rates": (rate,) * len(group_names), "device": "cuda:0",
    }  # fmt: skip
    return Simulation(**(usual | options), scaler=scaler, group_names=group_names, noise=noise)


def calm(simulation: Simulation, batches: int, draw: random.Random, **fields: float) -> None:
    """Batches of a healthy training: log-normal noise on a loss of 2 and a norm of 3."""
    for _ in range(batches):
        loss, norm = 2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0 * math.exp(0.3 * draw.gauss(0, 1))
        simulation.batch(loss, norm, **fields)  # type: ignore[arg-type]
