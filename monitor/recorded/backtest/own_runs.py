"""A recorded stream, or the journal of a daemon, as the inputs of a core. Pure.

A stream holds what the hooks sent: the run's beginning, the seconds that passed and the vault's answers are supplied. A
journal holds every input as it was, and is fed as it was; only the policy may be another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from monitor.core.drive import RunDriver
from monitor.core.engine import Core
from monitor.core.model import Entry, Input, RecordArrived, RunEnded, RunOpened, Tick
from monitor.core.policy.settings import Policy
from monitor.core.state.journal import Journal
from monitor.core.state.run import Fleet
from monitor.recorded.backtest.imported import supposed, without
from monitor.recorded.backtest.replay import NewGeneration, Source, Step
from monitor.recorded.backtest.row_index import BEFORE
from monitor.recorded.importers.imported_run import Recording, Row
from monitor.recorded.stream import Recorded, Stream
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Event, EventSent, Nonfinite, SkippedBy
from trainer_hooks.wire.run_documents import RunOutcome, RunSpec

RUN = "stream"
TICK_S = 1.0
TICKS_MAX = 4000  # of one silence: a longer one needs no finer steps
DAMAGE = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)


def source_of(recording: Recording, policy: Policy) -> Source:
    """A stream, ready to be fed."""
    source = Source(recording.path, recording.kind, "batch", RunDriver(RUN), truncated=recording.stream.truncated)
    replayed = without(policy, "checkpoint_verdict", "checkpoint_retention")
    source.steps = _steps(recording.stream, replayed, source.answers)
    return source


def journal_source(journal: Journal, policy: Policy) -> Source:
    """One run of a daemon's journal, ready to be fed."""
    fleet = msgspec.msgpack.decode(msgspec.msgpack.encode(journal.fleet), type=Fleet)  # the core changes it
    for state in fleet.runs.values():
        state.policy = policy.model_dump_json()
    path = f"{journal.path}#{journal.run}"
    driver = RunDriver(journal.run, core=Core(fleet))
    return Source(path, "history", "batch", driver, _journaled(journal.entries, policy), journal.truncated)


def _journaled(entries: Iterable[Entry], policy: Policy) -> Iterator[Step]:
    place, text = _Place(), policy.model_dump_json()
    for entry in entries:
        given = entry.input
        if isinstance(given, RunOpened):
            given = msgspec.structs.replace(given, policy=text)
        if isinstance(given, RecordArrived) and isinstance(given.record, BatchEnded) and given.rank == 0:
            place.next_row(entry.seq, given.generation, given.record)
            yield Step(place.row, entry.now_s, given, given.record.counts.batches)
        else:
            yield Step(place.row, entry.now_s, given)


class _Place:
    """Follows the rows of a recording: each batch of rank 0 is one."""

    def __init__(self) -> None:
        self.row, self.rows = BEFORE, 0

    def next_row(self, line: int, generation: int, batch: BatchEnded) -> None:
        """A batch of rank 0 begins the next row."""
        self.row = Row(
            index=self.rows,
            line=line,
            generation=generation,
            epoch=batch.epoch,
            batch=batch.batch,
            step=batch.counts.batches,
            nonfinite=batch.nonfinite,
            overflow=batch.skipped_by == SkippedBy.SCALER.value,
        )
        self.rows += 1


def _steps(stream: Stream, policy: Policy, answers: dict[str, Input]) -> Iterator[Step]:
    """The run's beginning, a tick for each second without a record, and the records."""
    feeder = _Feeder(answers)
    records = stream.records
    began_s = records[0].at_s if records else 0.0
    spec = RunSpec(run=RUN, title=stream.header.title, argv=(), cwd="", created_s=began_s, act=True)
    yield Step(BEFORE, began_s, RunOpened(spec, policy.model_dump_json()))
    now_s = began_s
    for line, recorded in enumerate(records, 2):
        if recorded.at_s - now_s >= TICK_S:
            for at_s in _ticks(now_s, recorded.at_s):
                yield Step(feeder.place.row, at_s, Tick())
                now_s = at_s
        yield from feeder.steps(line, recorded)
    yield Step(feeder.place.row, records[-1].at_s if records else 0.0, RunEnded(RUN, RunOutcome.FINISHED, ""))


def _ticks(from_s: float, to_s: float) -> Iterator[float]:
    """The seconds after `from_s` up to `to_s`, fewer in a long silence."""
    gap_s = to_s - from_s
    step_s = max(TICK_S, gap_s / TICKS_MAX)
    return (from_s + step_s * n for n in range(1, math.floor(gap_s / step_s) + 1))


class _Feeder:
    """Turns the lines of a stream into steps, and begins generations."""

    def __init__(self, answers: dict[str, Input]) -> None:
        self.answers, self.place = answers, _Place()
        self.generation = 0
        self.count, self.sound = 0, True  # of the last batch of rank 0

    def steps(self, line: int, recorded: Recorded) -> Iterator[Step]:
        """What the daemon would have been given with this record."""
        record, rank, at_s = recorded.record, recorded.rank, recorded.at_s
        if recorded.generation > self.generation:
            self.generation, self.count, self.sound = recorded.generation, 0, True
            yield Step(self.place.row, at_s, NewGeneration(recorded.generation))
        if isinstance(record, BatchEnded):
            batches = 0 if rank else self._batch(line, recorded.generation, record)
            yield Step(self.place.row, at_s, self._arrived(recorded, record), batches, rank)
        elif record is not None:
            if isinstance(record, CheckpointSaved):
                answer = supposed(RUN, self.place.row, record.digest, self.count, sound=self.sound)
                self.answers[record.digest] = answer
            yield Step(self.place.row, at_s, self._arrived(recorded, record), rank=rank)

    def _batch(self, line: int, generation: int, batch: BatchEnded) -> int:
        """A batch of rank 0: the next row, and how many batches there were."""
        self.count = batch.counts.batches
        self.sound = self.sound and (not batch.nonfinite & DAMAGE or batch.cured)
        self.place.next_row(line, generation, batch)
        return self.count

    def _arrived(self, recorded: Recorded, record: BatchEnded | Event) -> BatchEnded | Event | RecordArrived:
        """The record; one of an earlier generation with its number, since the core refuses it."""
        if recorded.generation == self.generation:
            return record
        late = record if isinstance(record, BatchEnded) else EventSent(0, record)
        return RecordArrived(RUN, recorded.generation, recorded.rank, late)
