"""A training told batch by batch: a test gives the numbers, the real core says what it found. Virtual time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from monitor.core.detectors import Registered
from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import (
    CheckpointExamined,
    Effect,
    Entry,
    Finding,
    GenerationStarted,
    GpuSeen,
    HardwareSeen,
    HostSeen,
    Input,
    RaiseAlert,
    RecordArrived,
    RunOpened,
    Say,
    Tick,
    Verdict,
    VolumeSeen,
)
from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState
from monitor.core.state.signals import Signal
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Counts, Event, EventSent, TrainingStarted
from trainer_hooks.wire.runfolder import Manifest, RunSpec

START_S = 1_763_424_000.0
NONFINITE_LOSS = 1


@dataclass
class Stream:
    """One run that is only observed. What a batch is not told of, it does not know: None, as on the wire."""

    policy: Policy = field(default_factory=Policy)
    batches_per_epoch: int = 1000
    epochs: int = 100
    deadline_s: float | None = None
    part_names: tuple[str, ...] = ("box", "seg")
    detectors: dict[str, Registered] | None = None  # None: those that are registered

    def __post_init__(self) -> None:
        self.core = Core(detectors=self.detectors)
        self.seq, self.event_seq, self.generation, self.now_s = 0, 0, 0, START_S
        self.counts: dict[int, Counts] = {}
        self.alerts: list[RaiseAlert] = []
        self.said: list[str] = []
        spec = RunSpec(run="s", argv=("train",), cwd=".", created_s=START_S, act=False, deadline_s=self.deadline_s)
        self.put(RunOpened(spec, self.policy.model_dump_json()))
        self.restart()

    @property
    def run(self) -> RunState:
        return self.core.fleet.runs["s"]

    @property
    def found(self) -> dict[str, int]:
        """Spells so far, by "<detector>/<severity>"."""
        return self.run.totals.findings

    def findings(self, detector: str) -> list[Finding]:
        return [f for f in self.run.findings if f.detector == detector]

    def signal(self, name: str, rank: int = 0) -> Signal:
        return self.run.ranks[rank].learned.signals[name]

    def put(self, given: Input) -> list[Effect]:
        self.seq += 1
        effects = self.core.feed(Entry(self.seq, self.now_s, given)).effects
        for effect in effects:
            if isinstance(effect, RaiseAlert):
                self.alerts.append(effect)
            elif isinstance(effect, Say):
                self.said.append(effect.text)
        return effects

    def restart(self) -> None:
        """A new generation: counters and event numbers begin again."""
        self.generation, self.event_seq, self.counts = self.generation + 1, 0, {}
        self.put(GenerationStarted("s", self.generation, "nonce", 1, 0))
        self.event(
            TrainingStarted(
                self.now_s, "plain", {}, {}, self.part_names, ("all",), (0.1,), self.epochs, 1,
                self.batches_per_epoch, 1, 1, "", "", 1, "cpu", "",
            )
        )  # fmt: skip

    def event(self, body: Event, rank: int = 0) -> None:
        self.event_seq += 1
        self.put(RecordArrived("s", self.generation, rank, EventSent(self.event_seq, body)))

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
        **more: Any,
    ) -> None:
        """One batch of one rank; `missed` batches before it were dropped on the way; `more` fields of BatchEnded."""
        self.now_s += took_s if rank == 0 else 0.0
        before = self.counts.get(rank, Counts())
        bad = any(v is not None and not math.isfinite(v) for v in (loss, None if overflow else grad_norm, *parts))
        done = before.batches + missed
        self.counts[rank] = counts = Counts(
            batches=done + 1,
            steps=done + 1,
            nonfinite_batches=before.nonfinite_batches + bad,
            scaler_overflows=before.scaler_overflows + overflow,
        )
        epoch, index = divmod(done, self.batches_per_epoch)
        record = BatchEnded(
            self.now_s, self.now_s, epoch + 1, index, self.batches_per_epoch, counts,
            loss=loss, parts=parts, grad_norm=grad_norm, nonfinite=NONFINITE_LOSS if bad else 0, cured=bad and cured,
            learning_rates=(rate,), loss_scale=scale, batch_size=batch_size, memory_reserved=reserved,
            memory_allocated=allocated, batch_s=took_s, data_wait_s=wait_s, **more,
        )  # fmt: skip
        self.put(RecordArrived("s", self.generation, rank, record))

    def hardware(
        self,
        seconds: float = 15.0,
        *,
        host: HostSeen | None = None,
        volumes: tuple[VolumeSeen, ...] = (),
        gpus: tuple[GpuSeen, ...] | None = None,
        nvml: str = "",
    ) -> None:
        """A reading, so many seconds after the last."""
        self.now_s += seconds
        self.put(HardwareSeen("s", host, volumes, gpus, nvml))

    def checkpoint(
        self, digest: str, verdict: Verdict = Verdict.SOUND, *, epoch: int = 1, size: int = 1000, is_best: bool = False
    ) -> None:
        """The trainer saved, and the vault has looked at it."""
        count = self.counts.get(0, Counts()).batches
        manifest = Manifest(
            run="s", generation=self.generation, rank=0, ordinal=1, serial=1, file=digest, source="last.pt",
            digest=digest, size=size, epoch=epoch, batches=count, nonfinite_batches=0, is_best=is_best,
            saved_s=self.now_s,
        )  # fmt: skip
        self.event(CheckpointSaved(self.now_s, digest, epoch, digest))
        self.put(CheckpointExamined("s", manifest, f"{digest}.pt", verdict, (f"it is {verdict}",), 0.1, digest))

    def tick(self, seconds: float) -> None:
        """Time passes and nothing comes."""
        self.now_s += seconds
        self.put(Tick())

    def reload(self) -> None:
        """The daemon is ended and started again: the core is read back from its snapshot."""
        self.core = restored(snapshot(self.core))


def calm(stream: Stream, batches: int, draw: random.Random, **told: float) -> None:
    """Batches of a healthy training: log-normal noise on a loss of 2 and a norm of 3."""
    for _ in range(batches):
        stream.batch(2.0 * math.exp(0.1 * draw.gauss(0, 1)), 3.0 * math.exp(0.3 * draw.gauss(0, 1)), **told)  # type: ignore[arg-type]
