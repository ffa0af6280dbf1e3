"""Feeds the steps of a recording to a core and collects what it says. Pure.

The core only watches: a recording can't be stopped, and every alarm of the run is to be seen. What the policy would
have done is asked at the opening of each incident.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from monitor.core.engine import Core
from monitor.core.model import ActionKind, Entry, ExamineCheckpoint, Finding, Incident, Input, Position, Severity
from monitor.core.policy.choose import Action, choose
from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState, TrainingState
from monitor.recorded.backtest.result import LEVELS, Decision, Fired, Result
from monitor.recorded.importers.imported_run import Row

FIRED_MAX = 200  # kept of one run; the counts hold the rest


class Step(NamedTuple):
    """One input, when it came, and the row it belongs to."""

    row: Row
    at_s: float
    given: Input
    batches: int = 0  # Counts.batches where the input is the row's own batch, of rank 0; 0: it is something else


@dataclass
class Source:
    """A recording, ready to be fed. `answers` by digest: what the vault is supposed to say, filled in on the way."""

    path: str
    kind: str
    run: str  # its id in the inputs
    granularity: str
    steps: Iterable[Step]
    core: Core = field(default_factory=Core)
    truncated: str = ""
    answers: dict[str, Input] = field(default_factory=dict)


def replay(source: Source, policy: Policy) -> Result:
    """What the core says of the whole recording."""
    told = _Replay(source, policy)
    feed = told.feed
    for step in source.steps:
        feed(step)
    return told.result()


@dataclass
class _Replay:
    """A core that is fed one recording."""

    source: Source
    policy: Policy
    seq: int = 0
    rows: list[Row] = field(default_factory=list)
    by_count: dict[tuple[int, int], Row] = field(default_factory=dict)  # by generation and Counts.batches
    fired: list[Fired] = field(default_factory=list)
    chosen: list[tuple[Row, Incident, Action]] = field(default_factory=list)
    last: Finding | None = None  # the newest finding collected
    incidents: int = 0

    def __post_init__(self) -> None:
        self.seq = self.source.core.fleet.seq

    def feed(self, step: Step) -> None:
        """One input; what it led to is collected, and what it asks of the vault is answered."""
        row, at_s, given, batches = step
        if batches:
            self.rows.append(row)
            self.by_count[row.generation, batches] = row
        self.seq += 1
        effects = self.source.core.feed(Entry(self.seq, at_s, given)).effects
        if not effects:
            return
        self.collect(row)
        for effect in effects:
            if isinstance(effect, ExamineCheckpoint) and (answer := self.source.answers.get(effect.digest)):
                self.feed(Step(row, at_s, answer))

    def collect(self, row: Row) -> None:
        """New findings, and the policy's answer to a new incident."""
        state = self.state
        if state is None:
            return
        training = state.training
        self.fired.extend(self._fired(finding) for finding in _new_findings(training, self.last))
        self.last = training.findings[-1] if training.findings else None
        if len(training.ledger.incidents) > self.incidents:
            self.incidents = len(training.ledger.incidents)
            incident = training.ledger.incidents[-1]
            self.chosen.append((row, incident, choose(state, training, incident, self.policy, may_act=self.policy.act)))

    @property
    def state(self) -> RunState | None:
        """The run, once it is opened."""
        return self.source.core.fleet.runs.get(self.source.run)

    def result(self) -> Result:
        """Everything collected."""
        state, rows = self.state, self.rows
        if state and rows:
            self.collect(rows[-1])
        fired = [*self.fired, *(_of_the_log(row, at) for row in rows if row.events for at in range(len(row.events)))]
        fired.sort(key=lambda f: (f.row, -LEVELS[f.severity], f.source))
        return Result(
            path=self.source.path,
            kind=self.source.kind,
            granularity=self.source.granularity,
            rows=len(rows),
            generations=rows[-1].generation if rows else 0,
            nonfinite_rows=sum(bool(row.nonfinite) and not row.overflow for row in rows),
            fired=fired[:FIRED_MAX],
            decisions=[self._decision(*chosen) for chosen in self.chosen],
            truncated=self.source.truncated,
            defects=state.ledger.defects + len(state.switched_off) if state else 0,
        )

    def _fired(self, finding: Finding) -> Fired:
        row, since = self._row(finding.at), self._row(finding.since)
        return _fired(finding.severity, finding.detector, row, since.index, finding.summary)

    def _row(self, at: Position) -> Row:
        """The row of a position; the first of the recording for a position before any row."""
        return self.by_count.get((at.generation, at.count)) or (self.rows[0] if self.rows else BEFORE)

    def _decision(self, row: Row, incident: Incident, action: Action) -> Decision:
        target = action.checkpoint if action.kind is ActionKind.ROLLBACK else None
        saved = self.by_count.get((target.generation, target.count)) if target else None
        return Decision(
            row.index,
            row.step,
            action.kind,
            action.reason,
            rows_after=len(self.rows) - 1 - row.index,
            onset_row=self._row(incident.onset).index,
            redone_rows=row.index - saved.index if saved else 0,
        )


BEFORE = Row(index=0, line=1, generation=1, epoch=1, batch=0, step=0)  # stands for the time before the first row


def _new_findings(state: TrainingState, last: Finding | None) -> list[Finding]:
    """Findings after `last`, oldest first."""
    new: list[Finding] = []
    for finding in reversed(state.findings):
        if finding is last:
            break
        new.append(finding)
    return new[::-1]


def _fired(severity: Severity, source: str, row: Row, since_row: int, summary: str) -> Fired:
    return Fired(severity, source, row.index, row.step, row.epoch, row.line, since_row, summary)


def _of_the_log(row: Row, at: int) -> Fired:
    event = row.events[at]
    return _fired(Severity.INFO, f"log: {event.kind}", row, row.index, event.text)
