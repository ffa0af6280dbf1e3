"""A training, its supervisor and its edges, simulated in virtual time around the real core.

Nothing of the core is replaced. What the simulation decides (which batch is bad, how long a batch takes) is given
to it, so
that a run of 41,163-batch epochs takes seconds and is the same every time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from monitor.core.engine import Core
from monitor.core.model import (
    CheckpointExamined,
    Effect,
    Entry,
    ExamineCheckpoint,
    GenerationExited,
    GenerationStarted,
    Input,
    PlanWritten,
    RaiseAlert,
    RecordArrived,
    RunEnded,
    RunOpened,
    Say,
    SendOrder,
    Tick,
    Verdict,
    WritePlan,
)
from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState
from trainer_hooks.wire.messages import (
    BatchEnded,
    CheckpointSaved,
    Counts,
    EpochEnded,
    Event,
    EventSent,
    Nonfinite,
    NonfiniteSeen,
    Order,
    OrderApplied,
    PlanApplied,
    TrainingEnded,
    TrainingStarted,
)
from trainer_hooks.wire.runfolder import Exit, Manifest, Plan, RunSpec, Settings

START_S = 1_763_424_000.0  # 2025-11-18 00:00 UTC
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class At:
    """Where the simulated trainer is, and with which settings: what a fault may depend on."""

    generation: int
    epoch: int
    batch: int
    settings: Settings | None  # of the plan in force; None: the user's own


@dataclass
class World:
    """One simulated run. `fault(at)` says whether a batch is non-finite; `cured` whether the guard puts it right."""

    policy: Policy = field(default_factory=Policy)
    epochs: int = 8
    batches_per_epoch: int = 100
    batch_s: float = 1.0
    fault: Callable[[At], bool] = lambda at: False
    cured: bool = True
    verdict: Callable[[int], Verdict] = lambda epoch: Verdict.SOUND
    deadline_s: float | None = None
    act: bool = True
    relaunch_s: float = 30.0
    obey: bool = True  # False: an order is refused
    group_names: tuple[str, ...] = ("weight", "bn", "bias")
    rates: tuple[float, ...] = (0.0005, 0.0005, 0.0005)
    rates_used: tuple[float, ...] | None = None
    batches_max: int = 10_000_000
    told: Callable[[At], dict[str, Any]] = lambda at: {}  # fields of a batch that are otherwise than here
    settings_told: dict[str, str] = field(default_factory=dict)  # the same of TrainingStarted.settings

    def __post_init__(self) -> None:
        self.core = Core()
        self.entries: list[Entry] = []
        self.effects: list[Effect] = []
        self.said: list[str] = []
        self.alerts: list[RaiseAlert] = []
        self.orders: list[Order] = []
        self.plans: dict[str, Plan] = {}
        self.now_s = START_S
        self.generation = 0
        self.settings: Settings | None = None
        self.pending: Order | None = None
        self.manifests: dict[str, Manifest] = {}
        self.batches_run = 0
        self.event_seq = 0
        spec = RunSpec(
            run="night",
            argv=("python", "train.py"),
            cwd=".",
            created_s=START_S,
            act=self.act,
            deadline_s=self.deadline_s,
        )
        self.put(RunOpened(spec, self.policy.model_dump_json()))

    @property
    def run(self) -> RunState:
        return self.core.fleet.runs["night"]

    def put(self, given: Input) -> None:
        """Feed one input, and carry its effects out at once."""
        entry = Entry(len(self.entries) + 1, self.now_s, given)
        self.entries.append(entry)
        for effect in self.core.feed(entry).effects:
            self.effects.append(effect)
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say():
                self.said.append(effect.text)
            case RaiseAlert():
                self.alerts.append(effect)
            case ExamineCheckpoint():
                manifest = self.manifests[effect.digest]
                self.put(
                    CheckpointExamined(
                        "night", manifest, f"/vault/{effect.digest}", self.verdict(manifest.epoch), ("finite",), 0.05
                    )
                )
            case WritePlan():
                self.plans[effect.name] = effect.plan
                self.put(PlanWritten("night", effect.plan.id, ""))
            case SendOrder():
                if not self.orders or self.orders[-1].id != effect.order.id:
                    self.orders.append(effect.order)
                self.pending = effect.order

    def event(self, body: Event) -> None:
        self.event_seq += 1
        self.put(RecordArrived("night", self.generation, 0, EventSent(self.event_seq, body)))

    def train(self) -> str:
        """Run generations until the training finished, was stopped, or `batches_max` is reached.

        Returns how it ended.
        """
        start_epoch, plan = 1, None
        while True:
            how, plan = self._generation(start_epoch, plan)
            if how != "relaunch" or plan is None:
                self.put(RunEnded("night", how, ""))
                return how
            self.now_s += self.relaunch_s
            start_epoch = plan.start_epoch

    def _generation(self, start_epoch: int, plan: Plan | None) -> tuple[str, Plan | None]:
        self.generation += 1
        self.event_seq, self.pending = 0, None
        self.put(GenerationStarted("night", self.generation, "nonce", 1000 + self.generation, 999))
        self.settings = plan.settings if plan else None
        self._start(start_epoch, plan.id if plan else "")
        if plan:
            self.event(PlanApplied(self.now_s, plan.id, "first step", start_epoch, {}, ()))
        counts, ramp_from = Counts(), 0
        for epoch in range(start_epoch, self.epochs + 1):
            for batch in range(self.batches_per_epoch):
                counts = self._batch(epoch, batch, counts, ramp_from)
                if self.batches_run >= self.batches_max:
                    return "stopped", None
                if self.pending and (left := self._obey(self.pending, epoch, batch)):
                    return left
            self._end_epoch(epoch, counts)
        self.event(TrainingEnded(self.now_s, "finished", "", self.epochs, {"mAP50": 0.7}))
        self.put(
            GenerationExited(
                "night", Exit(number=self.generation, code=0, signal=None, ended_s=self.now_s), relaunch=False
            )
        )
        return "finished", None

    def _start(self, start_epoch: int, plan_id: str) -> None:
        groups = self.settings.groups if self.settings else ()
        rates = tuple(g.base_rate for g in groups) or self.rates
        settings = {"lr0": "0.0005", "momentum": "0.9", "weight_decay": "0.0005", "warmup_epochs": "5"}
        settings |= self.settings_told
        self.event(
            TrainingStarted(
                self.now_s,
                "ultralytics",
                {"ultralytics": "8.4.190"},
                settings,
                ("box", "cls", "dfl"),
                self.group_names,
                rates,
                self.epochs,
                start_epoch,
                self.batches_per_epoch,
                1,
                1,
                "/runs/night",
                "/state/runs/night",
                1000,
                "cuda:0",
                "digest",
                plan_id=plan_id,
                base_weight_decays=(0.0005, 0.0, 0.0),
            )
        )

    def _batch(self, epoch: int, batch: int, counts: Counts, ramp_from: int) -> Counts:
        self.now_s += self.batch_s
        self.batches_run += 1
        bad = self.fault(At(self.generation, epoch, batch, self.settings))
        kinds = int(Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.BUFFER) if bad else 0
        counts = msgspec.structs.replace(
            counts,
            batches=counts.batches + 1,
            steps=counts.steps + 1,
            nonfinite_batches=counts.nonfinite_batches + bad,
            nonfinite_loss=counts.nonfinite_loss + bad,
            nonfinite_gradient=counts.nonfinite_gradient + bad,
            skipped_by_guard=counts.skipped_by_guard + (bad and self.cured),
        )
        ramp = None
        if self.settings and self.settings.ramp_batches:
            ramp = min(counts.batches / self.settings.ramp_batches, 1.0)
        loss = math.nan if bad else 2.0 + 0.1 * math.sin(counts.batches)
        record = BatchEnded(
            self.now_s,
            self.now_s,
            epoch,
            batch,
            self.batches_per_epoch,
            counts,
            loss=loss,
            parts=(loss, loss, loss),
            grad_norm=math.nan if bad else 5.0,
            nonfinite=kinds,
            skipped_by="guard" if bad and self.cured else "",
            cured=bad and self.cured,
            learning_rates=self.rates_used or self.rates,
            momentum=0.9,
            weight_decay=0.0005,
            clip_norm=10.0,
            batch_size=16,
            memory_reserved=int((4.20 if epoch < 4 else 4.71) * GIB),
            batch_s=self.batch_s,
            ramp=ramp,
            onset_samples_left=0,
        )
        if told := self.told(At(self.generation, epoch, batch, self.settings)):
            record = msgspec.structs.replace(record, **told)
        if bad:
            seen = NonfiniteSeen(
                self.now_s,
                epoch,
                batch,
                kinds,
                loss,
                record.parts,
                math.nan,
                record.cured,
                (f"{batch}.jpg",),
                False,
                "",
            )
            self.event(seen)
        self.put(RecordArrived("night", self.generation, 0, record))
        return counts

    def _obey(self, order: Order, epoch: int, batch: int) -> tuple[str, Plan | None] | None:
        self.pending = None
        outcome = "applied" if self.obey else "refused"
        self.event(OrderApplied(self.now_s, order.id, outcome, "", epoch, batch, {}))
        if outcome == "refused":
            return None
        plan = self.plans.get(order.plan)
        if order.kind == "adjust":
            self.settings = plan.settings if plan else None
            return None
        self.put(
            GenerationExited(
                "night",
                Exit(number=self.generation, code=75, signal=None, ended_s=self.now_s),
                relaunch=plan is not None,
            )
        )
        return ("relaunch", plan) if plan else ("stopped", None)

    def _end_epoch(self, epoch: int, counts: Counts) -> None:
        self.event(
            EpochEnded(
                self.now_s,
                epoch,
                self.batch_s * self.batches_per_epoch,
                (2.0, 2.0, 2.0),
                {"mAP50": 0.1 * epoch},
                0.1 * epoch,
            )
        )
        digest = hashlib.sha256(f"{self.generation}/{epoch}".encode()).hexdigest()
        self.manifests[digest] = Manifest(
            run="night",
            generation=self.generation,
            rank=0,
            ordinal=1,
            serial=epoch,
            file=f"{epoch}.pt",
            source="/runs/night/weights/last.pt",
            digest=digest,
            size=1,
            epoch=epoch,
            batches=counts.batches,
            nonfinite_batches=counts.nonfinite_batches,
            is_best=True,
            saved_s=self.now_s,
        )
        self.event(CheckpointSaved(self.now_s, f"{epoch}.json", epoch, digest))

    def tick(self, seconds: float) -> None:
        """Let time pass with nothing else happening."""
        self.now_s += seconds
        self.put(Tick())
