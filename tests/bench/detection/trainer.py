"""A simulated trainer: sends batches, phases and checkpoints as the hooks do, in virtual time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from monitor.core.model import CheckpointExamined, GpuSeen, HardwareSeen, HostSeen, Verdict, VolumeSeen
from tests.bench.detection.kinds import GIB, Batch, Kind
from tests.bench.detection.streams import RUN, Arrived, Observed, Silence, Step
from tests.harness.batch_counts import NO_COUNTS, counted, nonfinite_bits, skipped_by
from trainer_hooks.wire.messages import (
    BatchEnded,
    CheckpointSaved,
    Counts,
    EpochEnded,
    Event,
    PhaseChanged,
    TrainingStarted,
)
from trainer_hooks.wire.run_documents import Manifest

START_S = 1_763_424_000.0
VALIDATION_S = 20.0
SAVE_S = 2.0
READ_S = 15.0  # from one reading of the hardware to the next
GPU = GpuSeen(
    index=0, memory_total=24 * GIB, temperature_celsius=71, slowdown_celsius=92, power_limit_milliwatts=300_000,
    throttle_bits=0x4, ecc_uncorrected=0, rows_uncorrectable=0,
)  # fmt: skip
HOST = HostSeen(available=200 * GIB, total=256 * GIB, training_rss=40 * GIB)
VOLUME = VolumeSeen("save_dir", free=500 * GIB, total=1024 * GIB)
EPOCHS = 100
PART_NAMES = ("box", "seg", "cls")


@dataclass
class Trainer:
    """One training of a kind; `ranks` of them where it is distributed. Gives steps, and keeps the time."""

    kind: Kind
    ranks: int = 1
    now_s: float = START_S
    done: dict[int, Counts] = field(default_factory=dict)
    epoch: int = 1
    batch_in_epoch: int = 0
    saves: int = 0
    generation: int = 0
    host: HostSeen = HOST
    volumes: tuple[VolumeSeen, ...] = (VOLUME,)
    gpus: tuple[GpuSeen, ...] = (GPU,)
    read_s: float = 0.0  # when the hardware was last read

    def begin(self) -> Iterator[Step]:
        """A generation: every rank announces itself, counters begin again."""
        self.done, self.generation = {}, self.generation + 1
        for rank in range(self.ranks):
            yield Arrived(self.now_s, self._started(), rank)

    def event(self, body: Event, rank: int = 0) -> Arrived:
        return Arrived(self.now_s, body, rank)

    def ended(self, batch: Batch, rank: int = 0) -> Arrived:
        """The record of a batch that ended now. Rank 0's takes the time; the others end with it."""
        if rank == 0:
            self.now_s += batch.took_s
        found = nonfinite_bits(batch.loss, batch.parts, batch.norm, batch.damage)
        bits = 0 if batch.overflow else found
        cured, stepped = bool(bits) and batch.guarded, batch.norm is not None
        before = self.done.get(rank, NO_COUNTS)
        self.done[rank] = counts = counted(before, bits, cured=cured, overflow=batch.overflow, stepped=stepped)
        record = BatchEnded(
            self.now_s, self.now_s - START_S, self.epoch, self.batch_in_epoch, self.kind.epoch, counts,
            loss=batch.loss, parts=batch.parts, grad_norm=batch.norm, nonfinite=bits,
            skipped_by=str(skipped_by(cured=cured, overflow=batch.overflow)), cured=cured,
            learning_rates=() if batch.rate is None else (batch.rate,), loss_scale=batch.scale, batch_size=batch.size,
            instances_max=batch.instances_max, memory_allocated=batch.allocated, memory_reserved=batch.reserved,
            batch_s=batch.took_s, data_wait_s=batch.wait_s, sequence_length=batch.length,
            update_ratio=batch.update_ratio,
        )  # fmt: skip
        return Arrived(self.now_s, record, rank)

    def next_batch(self) -> Iterator[Step]:
        """The batch is over for every rank; after the last of an epoch it is validated and saved."""
        if self.now_s - self.read_s >= READ_S:
            yield self.reading()
        self.batch_in_epoch += 1
        if self.batch_in_epoch == self.kind.epoch:
            yield from self.end_epoch()

    def end_epoch(self, validation_s: float = VALIDATION_S) -> Iterator[Step]:
        """Validation, a checkpoint that is found sound, and the next epoch."""
        yield from self.phase("validate", validation_s)
        metrics = {"map": 0.5}
        yield self.event(EpochEnded(self.now_s, self.epoch, validation_s, (), metrics, 0.5))
        yield from self.phase("save", SAVE_S)
        yield from self.save(Verdict.SOUND)
        yield self.event(PhaseChanged(self.now_s, self.epoch, "train"))
        self.epoch, self.batch_in_epoch = self.epoch + 1, 0

    def phase(self, name: str, seconds: float) -> Iterator[Step]:
        """The trainer is busy with something else for so long."""
        yield self.event(PhaseChanged(self.now_s, self.epoch, name))
        yield self.silence(seconds)

    def silence(self, seconds: float) -> Silence:
        before, self.now_s = self.now_s, self.now_s + seconds
        return Silence(before, seconds)

    def save(self, verdict: Verdict, *reasons: str) -> Iterator[Step]:
        """A checkpoint is saved, and examined at once."""
        self.saves += 1
        name, batches = f"checkpoint-{self.saves}", self.done.get(0, NO_COUNTS).batches
        yield self.event(CheckpointSaved(self.now_s, name, self.epoch, name))
        manifest = Manifest(
            run=RUN, generation=self.generation, rank=0, ordinal=1, serial=self.saves, file=name, source="",
            digest=name, size=0, epoch=self.epoch, batches=batches, nonfinite_batches=0, is_best=False,
            saved_s=self.now_s,
        )  # fmt: skip
        yield Observed(self.now_s, CheckpointExamined(RUN, manifest, name, verdict, reasons, 0.1, name))

    def reading(self) -> Observed:
        """What NVML and the host say now."""
        self.read_s = self.now_s
        return Observed(self.now_s, HardwareSeen(RUN, self.host, self.volumes, self.gpus))

    def _started(self) -> TrainingStarted:
        names = PART_NAMES[: len(self.kind.parts)]
        return TrainingStarted(
            self.now_s, "plain", {}, {}, names, ("all",), (self.kind.rate,), EPOCHS, self.epoch, self.kind.epoch,
            self.ranks, 1, "", "", 1, "cuda:0", "", scaler_enabled=self.kind.scaled,
        )  # fmt: skip
