"""Feeds the steps of a recording to a core and collects its findings. Pure.

The core only observes: a recording can't be stopped, and every alarm of the run is wanted. What the policy would have
done is asked when an incident opens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from monitor.core.drive import RunDriver
from monitor.core.model import ActionKind, ExamineCheckpoint, Finding, Incident, Input, Output, Position, Severity
from monitor.core.policy.action import Action
from monitor.core.policy.choose import choose
from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState
from monitor.recorded.backtest.result import LEVELS, Fired, IncidentDecision, Result
from monitor.recorded.importers.imported_run import Row
from trainer_hooks.wire.messages import BatchEnded, Event

Sent = BatchEnded | Event
FIRED_MAX = 200  # kept of one run; the counts hold the rest


class NewGeneration(NamedTuple):
    """The training's next process life begins."""

    number: int


class Step(NamedTuple):
    """A record, or anything else that the core is given, with its time and the row it belongs to."""

    row: Row
    at_s: float
    given: Sent | Input | NewGeneration
    batches: int = 0  # Counts.batches where it is the row's own batch, of rank 0; 0: it is something else
    rank: int = 0


@dataclass
class Source:
    """A recording, ready to be fed. `answers` by digest: what the vault is supposed to say, filled in on the way."""

    path: str
    kind: str
    granularity: str
    driver: RunDriver
    steps: Iterable[Step] = ()
    truncated: str = ""
    answers: dict[str, Input] = field(default_factory=dict)


def replay(source: Source, policy: Policy) -> Result:
    """The result of the whole recording."""
    replayed = _Replay(source, policy)
    feed = replayed.feed
    for step in source.steps:
        feed(step)
    return replayed.result()


@dataclass
class _Replay:
    """A core that is fed one recording."""

    source: Source
    policy: Policy
    rows: list[Row] = field(default_factory=list)
    by_count: dict[tuple[int, int], Row] = field(default_factory=dict)  # by generation and Counts.batches
    fired: list[Fired] = field(default_factory=list)
    chosen: list[tuple[Row, Incident, Action]] = field(default_factory=list)
    incidents: int = 0

    def feed(self, step: Step) -> None:
        """One step; what it led to is collected, and what it asks of the vault is answered."""
        row, at_s, given, batches, rank = step
        if batches:
            self.rows.append(row)
            self.by_count[row.generation, batches] = row
        driver = self.source.driver
        driver.now_s = at_s
        if isinstance(given, BatchEnded) or isinstance(given, Sent):  # noqa: SIM101 - a union of many takes longer
            output = driver.send(given, rank)
        elif isinstance(given, NewGeneration):
            output = driver.start_generation(given.number)
        else:
            output = driver.feed(given)
        if output.effects or output.findings:
            self._collect(row, output)
            self._answer(row, at_s, output)

    def _collect(self, row: Row, output: Output) -> None:
        """Keep new findings, and the policy's answer to a new incident: the first that is not to wait."""
        self.fired.extend(map(self._fired, output.findings))
        state = self.state
        training = state.training if state is not None else None
        if state is None or training is None or not training.ledger.incidents:
            return
        incident = training.ledger.incidents[-1]
        if len(training.ledger.incidents) == self.incidents:
            if self.chosen[-1][2].kind is not ActionKind.WAIT or not incident.live:
                return
            self.chosen.pop()
        self.incidents = len(training.ledger.incidents)
        self.chosen.append((row, incident, choose(state, training, incident, self.policy, may_act=self.policy.act)))

    def _answer(self, row: Row, at_s: float, output: Output) -> None:
        """Say what the vault is supposed to say of the checkpoints that were to be examined."""
        for effect in output.effects:
            if isinstance(effect, ExamineCheckpoint) and (answer := self.source.answers.get(effect.digest)):
                self.feed(Step(row, at_s, answer))

    @property
    def state(self) -> RunState | None:
        """The run, once it is opened."""
        return self.source.driver.core.fleet.runs.get(self.source.driver.run)

    def result(self) -> Result:
        """Everything collected."""
        state, rows = self.state, self.rows
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

    def _decision(self, row: Row, incident: Incident, action: Action) -> IncidentDecision:
        target = action.checkpoint if action.kind is ActionKind.ROLLBACK else None
        saved = self.by_count.get((target.generation, target.count)) if target else None
        return IncidentDecision(
            row.index,
            row.step,
            action.kind,
            action.reason,
            rows_after=len(self.rows) - 1 - row.index,
            onset_row=self._row(incident.onset).index,
            redone_rows=row.index - saved.index if saved else 0,
        )


BEFORE = Row(index=0, line=1, generation=1, epoch=1, batch=0, step=0)  # stands for the time before the first row


def _fired(severity: Severity, source: str, row: Row, since_row: int, summary: str) -> Fired:
    return Fired(severity, source, row.index, row.step, row.epoch, row.line, since_row, summary)


def _of_the_log(row: Row, at: int) -> Fired:
    event = row.events[at]
    return _fired(Severity.INFO, f"log: {event.kind}", row, row.index, event.text)
