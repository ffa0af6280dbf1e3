"""A probe that keeps everything in memory: what an integration tells, and orders a test puts in its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trainer_hooks.copying import Copy
from trainer_hooks.spool import Save, SnapshotRequest
from trainer_hooks.wire.codec import encode
from trainer_hooks.wire.messages import (
    PROTOCOL,
    BatchEnded,
    CheckpointSaved,
    Event,
    Frame,
    HookTrouble,
    Order,
    OrderApplied,
    Sender,
    TrainingStarted,
)
from trainer_hooks.wire.runfolder import RunFolder

E = TypeVar("E")
SENDER = Sender("r", 1, 0, "nonce")


@dataclass
class Place:
    """Where the recorded run pretends to live."""

    folder: RunFolder
    ordinal: int = 1
    training: int = 1


@dataclass
class RecordingProbe:
    """Has the methods of trainer_hooks.probe.Probe that an integration uses, and remembers every call."""

    root: Path
    batches: list[BatchEnded] = field(default_factory=list)
    urgent: list[BatchEnded] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    orders: dict[int, Order] = field(default_factory=dict)  # by number of batches recorded when it is given
    snapshots: list[tuple[Path, Save, Copy]] = field(default_factory=list)
    retired: bool = False  # True: the training said that it is over
    unwritable: bool = False  # True: receipts can't be written

    @property
    def identity(self) -> Place:
        return Place(RunFolder(self.root))

    @property
    def hook_errors(self) -> int:
        return len(self.of(HookTrouble))

    @property
    def dropped(self) -> int:
        return 0

    def batch(self, record: BatchEnded | Callable[[], BatchEnded], urgent: bool = False) -> None:
        made = record if isinstance(record, BatchEnded) else record()
        encode(Frame(PROTOCOL, SENDER, 0, (made,)))  # raises, as the real one counts, what is no value of the wire
        self.batches.append(made)
        if urgent:
            self.urgent.append(made)

    def event(self, body: Event) -> None:
        self.events.append(body)

    def order(self) -> Order | None:
        return self.orders.pop(len(self.batches), None)

    def settle(
        self, order: Order, outcome: str, detail: str, epoch: int, batch: int, read_back: dict[str, str]
    ) -> None:
        if self.unwritable:
            raise OSError(28, "no space left on device")
        self.event(OrderApplied(0.0, order.id, outcome, detail, epoch, batch, read_back))

    def checkpoint(self, source: Path, save: Save) -> None:
        self.checkpoints.append({"source": source, "bytes": source.read_bytes(), **asdict(save)})
        self.event(CheckpointSaved(0.0, "", save.epoch, ""))

    def snapshot(self, request: SnapshotRequest) -> None:
        path = self.root / f"snapshot-{len(self.snapshots)}.pt"
        self.snapshots.append((path, request.save, request.write(path)))

    def copied(self, timeout_s: float) -> bool:
        return timeout_s >= 0

    def flush(self, timeout_s: float) -> bool:
        return timeout_s >= 0

    def retire(self) -> None:
        self.retired = True

    @property
    def starts(self) -> list[TrainingStarted]:
        """Each start once, with the names of the loss components, for which some trainers send it once more."""
        found: list[TrainingStarted] = []
        for start in self.of(TrainingStarted):
            named = bool(found and start.part_names and not found[-1].part_names)
            if named and msgspec.structs.replace(start, part_names=()) == found[-1]:
                found.pop()
            found.append(start)
        return found

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
