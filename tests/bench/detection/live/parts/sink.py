"""A probe that writes what the hooks tell into a file, as a recorded stream, where the real one sends it.

Checkpoints are examined on the spot, by the vault's own reader, and the verdicts written beside the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from monitor.core.model import CheckpointExamined
from monitor.recorded.stream import Recorded, header_line, record_line
from monitor.vault.verify import examine_file
from tests.bench.detection.live.parts.clock import Clock
from tests.bench.detection.live.steps import Seen, verdicts_path
from tests.bench.detection.streams import RUN
from trainer_hooks.spool import Save, SnapshotRequest
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Event, HookTrouble, Order
from trainer_hooks.wire.run_documents import Manifest
from trainer_hooks.wire.runfolder import RunFolder


@dataclass(frozen=True)
class Place:
    """Where the recorded run lives."""

    folder: RunFolder
    ordinal: int = 1


class FileProbe:
    """Has what an integration needs of a trainer_hooks.probe.Probe. Gives no orders and keeps no copies."""

    def __init__(self, path: Path, title: str, about: dict[str, str], clock: Clock = time.time) -> None:
        self.clock = clock
        self.identity = Place(RunFolder(path.parent))
        self.hook_errors = 0
        self.dropped = 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(header_line(title, about))
        self._verdicts: BinaryIO = verdicts_path(path).open("wb")
        self._serial = 0
        self._batch_s = self.clock()

    def batch(self, record: BatchEnded | Callable[[], BatchEnded], urgent: bool = False) -> None:
        del urgent
        self._write(record if isinstance(record, BatchEnded) else record())

    def event(self, body: Event) -> None:
        self.hook_errors += isinstance(body, HookTrouble)
        self._write(body)

    def order(self) -> Order | None:
        return None

    def settle(self, order: Order, *_: Any) -> None:
        """There is nothing to answer."""

    def checkpoint(self, source: Path, save: Save) -> None:
        """Examine it and report it."""
        with source.open("rb") as file:
            found = examine_file(file, None)
        self._serial += 1
        now_s, name = self.clock(), f"{self._serial:06}.json"
        self.event(CheckpointSaved(now_s, name, save.epoch, found.digest))
        manifest = Manifest(
            run=RUN, generation=1, rank=0, ordinal=save.ordinal, serial=self._serial, file=name, source=str(source),
            digest=found.digest, size=source.stat().st_size, epoch=save.epoch, batches=save.batches,
            nonfinite_batches=save.nonfinite_batches, is_best=save.is_best, saved_s=now_s,
            state_finding=save.state_finding, fitness=save.fitness,
        )  # fmt: skip
        examined = CheckpointExamined(RUN, manifest, str(source), found.verdict, found.reasons, found.seconds, name)
        self._verdicts.write(msgspec.json.encode(Seen(self.clock(), examined)) + b"\n")

    def snapshot(self, request: SnapshotRequest) -> None:
        assert request.save.extra_batches

    def copied(self, timeout_s: float) -> bool:
        return timeout_s >= 0

    def flush(self, timeout_s: float) -> bool:
        self._file.flush()
        return timeout_s >= 0

    def retire(self) -> None:
        """Nothing is left to be sent."""

    def close(self) -> None:
        """Everything is on disk after it."""
        self._verdicts.close()
        self._file.close()

    def _write(self, record: BatchEnded | Event) -> None:
        now_s = self.clock()
        if isinstance(record, BatchEnded) and self.clock is not time.time:
            record = self._retimed(record, now_s)
        self._file.write(record_line(Recorded(now_s, record)))

    def _retimed(self, batch: BatchEnded, now_s: float) -> BatchEnded:
        """With the clock's time in place of the wall's, see parts/clock.py. What it waited for is not known then."""
        before_s, self._batch_s = self._batch_s, now_s
        batch_s = None if batch.batch_s is None else now_s - before_s
        return msgspec.structs.replace(batch, wall_s=now_s, sent_s=now_s, batch_s=batch_s, data_wait_s=None)
