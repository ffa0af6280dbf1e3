"""What an importer makes of a foreign log: values only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from monitor.recorded.stream import Stream
from trainer_hooks.wire.enums import StrEnum

Sample = tuple[int, dict[str, float]]  # line or item in the file (from 1), and the numbers it holds by their names


class UnreadableLog(Exception):
    """A file is not a log that can be read. Says which file, why, and what to do; the other files still count."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


class NotALog(UnreadableLog):
    """The file can be read, and nothing in it is a training loss: found in a folder, it is passed by."""


class EndsEarly(Exception):
    """The samples of a log are at their end, and the end of the file could not be read: says why."""


class Role(StrEnum):
    """What a column means to the core."""

    STEP = "step"
    EPOCH = "epoch"
    LOSS = "loss"
    PART = "part"
    GRAD_NORM = "grad_norm"
    RATE = "lr"
    MEMORY = "memory"
    BATCH_S = "batch_s"
    DATA_S = "data_s"
    LOSS_SCALE = "loss_scale"
    OVERFLOW = "overflow"  # not 0: the scaler skipped this step by itself
    METRIC = "metric"  # of a validation
    NONE = "none"


class Log(msgspec.Struct, frozen=True):
    """A file that is being read: its samples in file order, and what its importer knows about it for sure."""

    samples: Iterable[Sample]  # read once, and only as far as needed; raises EndsEarly after the last one
    roles: dict[str, Role] = {}  # columns whose meaning this kind fixes; the others are known by their names
    granularity: str = ""  # "batch" or "epoch"; empty: the columns show which
    memory_unit_bytes: float = 1024.0 * 1024.0  # most loggers print MB
    names: tuple[str, ...] = ()  # of all columns, where a header says it; empty: only the samples show


class LogEvent(msgspec.Struct, frozen=True):
    """Something that a log shows beside its numbers. It is reported, never an alarm; the core assesses the rows."""

    kind: str  # "not finite", "loss vanished", "loss masked", "restart"
    text: str


class Row(msgspec.Struct, frozen=True, gc=False):
    """One logged training step: a batch, a mean over a few of them, or a whole epoch (ImportedRun.granularity).

    None means: this row does not say.
    """

    index: int  # among the training rows of the file, from 0
    line: int  # in the file, from 1
    generation: int  # from 1; each time the step goes back it is one more
    epoch: int  # from 1
    batch: int  # rows of this epoch and generation before this one
    step: int  # as the log has it; the index where it has none
    nonfinite: int = 0  # bits of Nonfinite
    overflow: bool = False  # the gradient alone was not finite, and not twice in a row: a scaler's ordinary skip
    loss: float | None = None
    parts: tuple[float, ...] = ()
    grad_norm: float | None = None
    learning_rates: tuple[float, ...] = ()
    memory_bytes: int | None = None
    batch_s: float | None = None
    data_wait_s: float | None = None
    loss_scale: float | None = None
    epoch_ends: bool = False  # the last row of its epoch, or the one before a validation where there are no epochs
    metrics: dict[str, float] = {}  # of the validation that followed; only where epoch_ends
    events: tuple[LogEvent, ...] = ()


class Extent(msgspec.Struct, frozen=True):
    """How far a log goes: what is known of a run only at its end."""

    rows: int
    epochs: int  # the highest
    batches_per_epoch: int  # the most rows that an epoch has
    last: Row
    epoch_ends: tuple[tuple[int, int], ...]  # generation and epoch of every epoch's last row


class ImportedRun(msgspec.Struct, frozen=True):
    """A foreign log in the words of the core."""

    kind: str
    path: str
    granularity: str  # "batch": a row is a logged step; "epoch": a row is an epoch
    part_names: tuple[str, ...]
    group_names: tuple[str, ...]
    rows: Sequence[Row]  # of a long log they are read anew each time
    extent: Extent
    truncated: str = ""


class Recording(msgspec.Struct, frozen=True):
    """A stream of our own: its records need no interpretation."""

    kind: str
    path: str
    stream: Stream
