"""A recorded run through the real core, in virtual time: what would have fired, and what the policy had done. Pure.

The core only watches (the run has no supervisor: a log can't be stopped), so that every alarm of the run is seen; what
the policy would have done is asked at the opening of each incident. A log does not say which checkpoints there were:
one is supposed at the end of each epoch (of CHECKPOINTS_MAX evenly spread ones), sound unless its last row was not
finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from monitor.core import Core
from monitor.importers.records import GenerationBegins, records
from monitor.importers.rows import ImportedRun, Row
from monitor.model import (
    CheckpointExamined,
    Entry,
    ExamineCheckpoint,
    Finding,
    GenerationStarted,
    Input,
    Position,
    RecordArrived,
    RunEnded,
    RunOpened,
    Severity,
    Verdict,
)
from monitor.policy.rungs import choose
from monitor.policy.settings import Policy
from monitor.state.run import RunState
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Event, EventSent
from trainer_hooks.wire.runfolder import Manifest, RunSpec

RUN = "backtest"
CHECKPOINTS_MAX = 20  # of one log
FIRED_MAX = 200  # kept of one run; the counts hold the rest
LEVELS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Fired(msgspec.Struct, frozen=True):
    """One alarm: what a detector found, or what the log itself shows ("log: ...")."""

    severity: Severity
    source: str  # the detector's name, or "log: " and the kind of event
    row: int  # of the training rows, from 0
    step: int  # as the log has it
    epoch: int
    line: int  # of the file
    since_row: int  # onset
    summary: str  # the evidence in one sentence


class Decision(msgspec.Struct, frozen=True):
    """What the policy would have done when an incident opened."""

    row: int
    step: int
    action: str  # "rollback", "stop", "adjust", "watch"
    reason: str
    rows_after: int  # rows the training went on for after that: what acting would have saved


class Result(msgspec.Struct, frozen=True):
    """One backtested run."""

    path: str
    kind: str
    granularity: str
    rows: int
    generations: int
    nonfinite_rows: int
    fired: list[Fired]
    decisions: list[Decision]
    truncated: str
    defects: int = 0  # inputs that the core stumbled over, and detectors that were switched off: our own faults

    @property
    def worst(self) -> Severity | None:
        """The highest severity that fired; None: nothing did."""
        return max((f.severity for f in self.fired), key=LEVELS.__getitem__, default=None)


class Totals(msgspec.Struct, frozen=True):
    """Over all runs. An alarm is a warning or worse."""

    runs: int
    rows: int
    runs_warned: int
    runs_critical: int
    alarms: int
    critical: int
    alarms_per_million_rows: float
    critical_per_million_rows: float


@dataclass
class _Replay:
    """A core that is fed one log."""

    run: ImportedRun
    policy: Policy
    core: Core = field(default_factory=Core)
    seq: int = 0
    event_seq: int = 0
    rows: dict[tuple[int, int], Row] = field(default_factory=dict)  # by generation and count within it
    fired: list[Fired] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    supposed: dict[str, CheckpointExamined] = field(default_factory=dict)  # by digest
    last: Finding | None = None  # the newest finding collected
    incidents: int = 0

    def feed(self, row: Row, given: Input) -> None:
        """One input at the row's time; what it led to is collected, and what it asks of the vault is answered."""
        self.seq += 1
        effects = self.core.feed(Entry(self.seq, float(row.index), given))
        if effects:
            self.collect(row)
        for effect in effects:
            if isinstance(effect, ExamineCheckpoint):
                self.feed(row, self.supposed[effect.digest])

    def event(self, row: Row, body: Event) -> None:
        self.event_seq += 1
        self.feed(row, RecordArrived(RUN, row.generation, 0, EventSent(self.event_seq, body)))

    def collect(self, row: Row) -> None:
        """New findings, and the policy's answer to a new incident."""
        state = self.core.fleet.runs[RUN]
        self.fired.extend(self._fired(finding) for finding in _new_findings(state, self.last))
        self.last = state.findings[-1] if state.findings else None
        if len(state.incidents) > self.incidents:
            self.incidents = len(state.incidents)
            rung = choose(state, state.incidents[-1], self.policy, may_act=self.policy.act)
            left = len(self.run.rows) - 1 - row.index
            self.decisions.append(Decision(row.index, row.step, rung.kind, rung.reason, left))

    def _fired(self, finding: Finding) -> Fired:
        row, since = self._row(finding.at), self._row(finding.since)
        return _fired(finding.severity, finding.detector, row, since.index, finding.summary)

    def _row(self, at: Position) -> Row:
        """The row of a position; the first one of the log for a position before any row."""
        return self.rows.get((at.generation, at.count), self.run.rows[0])


def backtest(run: ImportedRun, policy: Policy) -> Result:
    """What the core, under `policy`, would have said of a recorded run."""
    replay = _Replay(run, policy)
    first = run.rows[0]
    spec = RunSpec(run=RUN, title=run.path, argv=(), cwd="", created_s=0.0, act=True)
    replay.feed(first, RunOpened(spec, policy.model_dump_json()))
    keep = _checkpoint_epochs(run.rows)
    for row, record in records(run):
        if isinstance(record, GenerationBegins):
            replay.event_seq = 0
            replay.feed(row, GenerationStarted(RUN, record.number, f"g{record.number}", 0, 0))
            replay.event(row, record.started)
        elif isinstance(record, BatchEnded):
            replay.rows[row.generation, record.counts.batches] = row
            replay.feed(row, RecordArrived(RUN, row.generation, 0, record))
        else:
            replay.event(row, record)
            if (row.generation, row.epoch) in keep:
                _checkpoint(replay, row)
    replay.feed(run.rows[-1], RunEnded(RUN, "finished", ""))
    replay.collect(run.rows[-1])
    state = replay.core.fleet.runs[RUN]
    defects = state.totals.defects + len(state.switched_off)
    return _result(run, [*replay.fired, *_log_events(run.rows)], replay.decisions, defects)


def _checkpoint_epochs(rows: list[Row]) -> frozenset[tuple[int, int]]:
    """Evenly spread epochs at whose end a checkpoint is supposed."""
    ends = [(row.generation, row.epoch) for row in rows if row.epoch_ends]
    return frozenset(ends[:: max(len(ends) // CHECKPOINTS_MAX, 1)])


def _checkpoint(replay: _Replay, row: Row) -> None:
    """Suppose a checkpoint at this row."""
    digest, count = f"row {row.index}", _row_count(replay, row)
    manifest = Manifest(
        run=RUN,
        generation=row.generation,
        rank=0,
        ordinal=1,
        serial=1,
        file=digest,
        source="",
        digest=digest,
        size=0,
        epoch=row.epoch,
        batches=count,
        nonfinite_batches=0,
        is_best=False,
        saved_s=float(row.index),
    )
    verdict = Verdict.POISONED if row.nonfinite and not row.overflow else Verdict.SOUND
    reasons = ("supposed: the log does not say which checkpoints there were",)
    replay.supposed[digest] = CheckpointExamined(RUN, manifest, digest, verdict, reasons, 0.0, digest)
    replay.event(row, CheckpointSaved(float(row.index), digest, row.epoch, digest))


def _row_count(replay: _Replay, row: Row) -> int:
    """Counts.batches at a row."""
    state = replay.core.fleet.runs[RUN]
    return state.ranks[0].counts.batches if 0 in state.ranks else row.index + 1


def _new_findings(state: RunState, last: Finding | None) -> list[Finding]:
    """Findings after `last`, oldest first."""
    new: list[Finding] = []
    for finding in reversed(state.findings):
        if finding is last:
            break
        new.append(finding)
    return new[::-1]


def _fired(severity: Severity, source: str, row: Row, since_row: int, summary: str) -> Fired:
    return Fired(severity, source, row.index, row.step, row.epoch, row.line, since_row, summary)


def _log_events(rows: Iterable[Row]) -> Iterator[Fired]:
    for row in rows:
        for event in row.events:
            severity = Severity.WARNING if event.alarming else Severity.INFO
            yield _fired(severity, f"log: {event.kind}", row, row.index, event.text)


def _result(run: ImportedRun, fired: list[Fired], decisions: list[Decision], defects: int) -> Result:
    fired = sorted(fired, key=lambda f: (f.row, -LEVELS[f.severity], f.source))
    return Result(
        path=run.path,
        kind=run.kind,
        granularity=run.granularity,
        rows=len(run.rows),
        generations=run.rows[-1].generation,
        nonfinite_rows=sum(bool(row.nonfinite) and not row.overflow for row in run.rows),
        fired=fired[:FIRED_MAX],
        decisions=decisions,
        truncated=run.truncated,
        defects=defects,
    )


def totals(results: Iterable[Result]) -> Totals:
    """Sums over runs."""
    results = list(results)
    rows = sum(result.rows for result in results)
    alarms = sum(f.severity is not Severity.INFO for result in results for f in result.fired)
    critical = sum(f.severity is Severity.CRITICAL for result in results for f in result.fired)
    million = max(rows, 1) / 1e6
    return Totals(
        runs=len(results),
        rows=rows,
        runs_warned=sum(r.worst in (Severity.WARNING, Severity.CRITICAL) for r in results),
        runs_critical=sum(r.worst is Severity.CRITICAL for r in results),
        alarms=alarms,
        critical=critical,
        alarms_per_million_rows=alarms / million,
        critical_per_million_rows=critical / million,
    )
