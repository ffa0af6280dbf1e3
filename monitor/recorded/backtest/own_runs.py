"""A recorded stream, or the journal of a daemon, as the inputs of a core. Pure.

A stream holds what the hooks sent: the run's beginning, the seconds that passed and the vault's answers are supplied. A
journal holds every input as it was, and is fed as it was; only the policy may be another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from monitor.core.engine import Core
from monitor.core.model import Entry, GenerationStarted, Input, RecordArrived, RunEnded, RunOpened, Tick
from monitor.core.policy.settings import Policy
from monitor.core.state.journal import Journal
from monitor.core.state.run import Fleet
from monitor.recorded.backtest.imported import supposed, without
from monitor.recorded.backtest.replay import BEFORE, Source, Step
from monitor.recorded.importers.imported_run import Recording, Row
from monitor.recorded.stream import Recorded, Stream
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, EventSent, Nonfinite, SkippedBy
from trainer_hooks.wire.runfolder import RunOutcome, RunSpec

RUN = "stream"
TICK_S = 1.0
TICKS_MAX = 4000  # of one silence: what a longer one shows is no finer
DAMAGE = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)


def source_of(recording: Recording, policy: Policy) -> Source:
    """A stream, ready to be fed."""
    source = Source(recording.path, recording.kind, RUN, "batch", (), truncated=recording.stream.truncated)
    judged = without(policy, "checkpoint_verdict", "checkpoint_retention")
    source.steps = _steps(recording.stream, judged, source.answers)
    return source


def journal_source(journal: Journal, policy: Policy) -> Source:
    """One run of a daemon's journal, ready to be fed."""
    fleet = msgspec.msgpack.decode(msgspec.msgpack.encode(journal.fleet), type=Fleet)  # the core changes it
    for state in fleet.runs.values():
        state.policy = policy.model_dump_json()
    path = f"{journal.path}#{journal.run}"
    steps = _journaled(journal.entries, policy)
    return Source(path, "history", journal.run, "batch", steps, Core(fleet), journal.truncated)


def _journaled(entries: Iterable[Entry], policy: Policy) -> Iterator[Step]:
    place, text = _Place(), policy.model_dump_json()
    for entry in entries:
        given = entry.input
        if isinstance(given, RunOpened):
            given = msgspec.structs.replace(given, policy=text)
        yield place.step(entry.seq, entry.now_s, given)


class _Place:
    """Follows the rows of a recording: each batch of rank 0 is one."""

    def __init__(self) -> None:
        self.row, self.rows = BEFORE, 0

    def step(self, line: int, at_s: float, given: Input) -> Step:
        """The input at the row it belongs to, which is a new one for each batch of rank 0."""
        if not isinstance(given, RecordArrived) or given.rank or not isinstance(given.record, BatchEnded):
            return Step(self.row, at_s, given)
        batch = given.record
        self.row = Row(
            index=self.rows,
            line=line,
            generation=given.generation,
            epoch=batch.epoch,
            batch=batch.batch,
            step=batch.counts.batches,
            nonfinite=batch.nonfinite,
            overflow=batch.skipped_by == SkippedBy.SCALER.value,
        )
        self.rows += 1
        return Step(self.row, at_s, given, batch.counts.batches)


def _steps(stream: Stream, policy: Policy, answers: dict[str, Input]) -> Iterator[Step]:
    """Every input: the run's beginning, a tick for each second without a record, and the records."""
    place, feeder = _Place(), _Feeder(answers)
    records = stream.records
    began_s = records[0].at_s if records else 0.0
    spec = RunSpec(run=RUN, title=stream.header.title, argv=(), cwd="", created_s=began_s, act=True)
    yield place.step(1, began_s, RunOpened(spec, policy.model_dump_json()))
    now_s = began_s
    for line, recorded in enumerate(records, 2):
        for at_s in _ticks(now_s, recorded.at_s):
            yield place.step(line, at_s, Tick())
            now_s = at_s
        for given in feeder.inputs(recorded, place.row):
            yield place.step(line, recorded.at_s, given)
    yield place.step(len(records) + 1, records[-1].at_s if records else 0.0, RunEnded(RUN, RunOutcome.FINISHED, ""))


def _ticks(from_s: float, to_s: float) -> Iterator[float]:
    """The seconds after `from_s` up to `to_s`, fewer in a long silence."""
    gap_s = to_s - from_s
    step_s = max(TICK_S, gap_s / TICKS_MAX)
    return (from_s + step_s * n for n in range(1, math.floor(gap_s / step_s) + 1))


class _Feeder:
    """Turns records into inputs: numbers the events, and begins generations."""

    def __init__(self, answers: dict[str, Input]) -> None:
        self.answers = answers
        self.generation = 0
        self.events: dict[int, int] = {}  # by rank
        self.count, self.sound = 0, True  # of the last batch of rank 0

    def inputs(self, recorded: Recorded, row: Row) -> Iterator[Input]:
        """What the daemon would have been given with this record."""
        if recorded.generation > self.generation:
            self.generation, self.events, self.count, self.sound = recorded.generation, {}, 0, True
            yield GenerationStarted(RUN, recorded.generation, f"g{recorded.generation}", 0, 0)
        record, rank = recorded.record, recorded.rank
        if record is None:
            return
        if isinstance(record, BatchEnded):
            if rank == 0:
                self.count = record.counts.batches
                self.sound = self.sound and (not record.nonfinite & DAMAGE or record.cured)
            yield RecordArrived(RUN, recorded.generation, rank, record)
            return
        if isinstance(record, CheckpointSaved):
            self.answers[record.digest] = supposed(RUN, row, record.digest, self.count, sound=self.sound)
        self.events[rank] = self.events.get(rank, 0) + 1
        yield RecordArrived(RUN, recorded.generation, rank, EventSent(self.events[rank], record))
