"""The last counters of one rank of a training, in a file that outlives its process. The third file of `wire` with I/O.

A batch record may be lost, and nobody acknowledges it. Its counters are cumulative: this one file makes up for all.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.messages import BatchEnded, Counts
from trainer_hooks.wire.runfolder import RunFolder

_NAME = re.compile(r"last-(\d{1,9})-g(\d{1,9})(?:-r(\d{1,9}))?\.json")


class LastCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank had counted when this was written: at its end, and every few seconds while no daemon is there."""

    training: int  # of the run, from 1
    generation: int
    rank: int
    wall_s: float
    sent_s: float
    epoch: int = 0  # of the last batch, from 1; 0: there was none
    batch: int = 0
    batches_per_epoch: int = 0
    counts: Counts = Counts()
    how: str = ""  # words.TrainingEnd; empty: it has not reported its end
    detail: str = ""  # as that of TrainingEnded

    def as_batch(self) -> BatchEnded:
        """The counters as the record that the daemon would have got; nothing but counters is known of it."""
        return BatchEnded(self.wall_s, self.sent_s, self.epoch, self.batch, self.batches_per_epoch, self.counts)


def last_counts_path(folder: RunFolder, training: int, generation: int, rank: int = 0) -> Path:
    """Where one rank of one training in one generation keeps them."""
    of_rank = f"-r{rank}" if rank else ""
    return folder.root / f"last-{training}-g{generation}{of_rank}.json"


def write_last_counts(folder: RunFolder, last: LastCounts) -> None:
    """Durably. Raises OSError."""
    write(last_counts_path(folder, last.training, last.generation, last.rank), last)


def read_last_counts(folder: RunFolder, generation: int) -> list[LastCounts]:
    """Those of every rank of every training in a generation; what can't be read is left out."""
    found = []
    for path in sorted(folder.root.glob(f"last-*-g{generation}*.json")):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[2]) != generation:
            continue
        try:
            last = msgspec.json.decode(path.read_bytes(), type=LastCounts)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # written whole or not at all: somebody else has damaged it, and the records are still there
        if (last.training, last.generation, last.rank) == (int(match[1]), generation, int(match[3] or 0)):
            found.append(last)
    return sorted(found, key=lambda last: (last.training, last.rank))
