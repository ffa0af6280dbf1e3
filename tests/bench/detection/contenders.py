"""Who is measured: the real core under a policy, and any published rule. Both hear the same steps, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import Entry, GenerationStarted, Input, RecordArrived, RunOpened, Say, Severity, Tick
from monitor.core.policy.settings import Policy
from monitor.core.state.ongoing_findings import STREAK_GAP_BATCHES
from monitor.core.state.run import RunState
from tests.bench.detection.rules import RuleFactory
from tests.bench.detection.streams import RUN, Arrived, DaemonRestarted, Observed, Step
from trainer_hooks.wire.messages import BatchEnded, EventSent, TrainingStarted
from trainer_hooks.wire.runfolder import RunSpec


class Level(IntEnum):
    """What an alarm leads to."""

    SEEN = 0  # a line on the run's terminal, for whoever looks
    TOLD = 1  # people are alerted; a published rule knows no other level
    ACTED = 2  # an incident is opened: the policy may stop the training and go back


LEVEL_OF = {Severity.INFO: Level.SEEN, Severity.WARNING: Level.TOLD, Severity.CRITICAL: Level.ACTED}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `families` of faults it speaks for: empty, where it does not tell them apart."""

    level: Level
    source: str  # the detector
    families: tuple[str, ...]
    rank: int
    text: str


class Contender(Protocol):
    """Somebody who listens to one case. A new one is made for each."""

    name: str
    source: str
    defects: list[str]  # its own errors, in sentences

    def take(self, step: Step) -> Sequence[Alarm]:
        """What it says to this step. Of a Silence only `wait` tells."""
        ...

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        """A second has passed; `waited_s` since the last record."""
        ...

    def fork(self) -> Contender:
        """Another one that knows the same and shares nothing."""
        ...


# Which family of faults a finding's own family names. Where a symptom has several causes nothing is named: a jump of
# the loss may be the optimizer, the data or a bad resume, and what tells them apart is the diagnosis, not the detector.
NAMED: dict[str, tuple[str, ...]] = {
    "nonfinite": ("numerical",),
    "loss_scale": ("numerical",),
    "memory": ("memory",),
    "speed": ("throughput",),
    "hang": ("hang",),
    "settings": ("optimizer",),
    "checkpoint": ("checkpoint",),
    "gpu": ("hardware",),
    "disk": ("checkpoint",),
}
NAMED_BY: dict[str, tuple[str, ...]] = {
    "gradient_vanishing": ("program",),
    "collapse": ("program",),
    "update_ratio": ("program",),
}


class Warden:
    """The real core under one policy, as the daemon drives it: a record at a time, and a tick every second."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name, self.source = f"trainwarden {name}", "this project"
        self.defects: list[str] = []
        self._core, self._seq, self._generation = Core(), 0, 0
        self._event_seq: dict[int, int] = {}
        self._last: object = None
        self._now_s = 0.0
        spec = RunSpec(run=RUN, argv=("train",), cwd=".", created_s=0.0, act=False)
        self._feed(RunOpened(spec, policy.model_dump_json()))

    def take(self, step: Step) -> Sequence[Alarm]:
        self._now_s = step.at_s
        match step:
            case Arrived():
                return self._arrived(step)
            case Observed():
                return self._feed(step.given)
            case DaemonRestarted():
                self._core = restored(snapshot(self._core))
                self._last = self._newest()
        return ()

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        self._now_s = at_s
        return self._feed(Tick())

    def fork(self) -> Warden:
        other = copy(self)
        other._core, other._event_seq = restored(snapshot(self._core)), dict(self._event_seq)
        other._last = other._newest()
        return other

    @property
    def _run(self) -> RunState:
        return self._core.fleet.runs[RUN]

    def _arrived(self, step: Arrived) -> Sequence[Alarm]:
        record = step.record
        if isinstance(record, BatchEnded):
            return self._feed(RecordArrived(RUN, self._generation, step.rank, record))
        if isinstance(record, TrainingStarted) and step.rank == 0:
            self._generation, self._event_seq = self._generation + 1, {}
            self._feed(GenerationStarted(RUN, self._generation, f"g{self._generation}", 1, 0))
        seq = self._event_seq[step.rank] = self._event_seq.get(step.rank, 0) + 1
        return self._feed(RecordArrived(RUN, self._generation, step.rank, EventSent(seq, record)))

    def _feed(self, given: Input) -> Sequence[Alarm]:
        self._seq += 1
        effects = self._core.feed(Entry(self._seq, self._now_s, given)).effects
        if not effects and self._newest() is self._last:
            return ()
        alarms = self._new_alarms()
        if not alarms:
            said = [e.text for e in effects if isinstance(e, Say) and e.severity is not Severity.INFO]
            alarms = [Alarm(Level.SEEN, "said", _families_said(text), 0, text) for text in said[:1]]
        self._note_defects()
        return alarms

    def _newest(self) -> object:
        findings = self._run.findings
        return findings[-1] if findings else None

    def _new_alarms(self) -> list[Alarm]:
        """Findings since the last look, oldest first."""
        new: list[Alarm] = []
        for finding in reversed(self._run.findings):
            if finding is self._last:
                break
            families = NAMED_BY.get(finding.detector) or NAMED.get(finding.family, ())
            new.append(Alarm(LEVEL_OF[finding.severity], finding.detector, families, finding.rank, finding.summary))
        self._last = self._newest()
        return new[::-1]

    def _note_defects(self) -> None:
        run = self._run
        if run.totals.defects or run.switched_off:
            self.defects = [f"{run.totals.defects} defects of the core, detectors off: {run.switched_off or 'none'}"]


def _families_said(text: str) -> tuple[str, ...]:
    return ("numerical",) if "not finite" in text else ()


class Published:
    """A published rule at work. Alarms that follow each other within a streak count as one, as the core's do."""

    def __init__(self, make: RuleFactory) -> None:
        self._rule = make()
        self.name, self.source = self._rule.name, self._rule.source
        self.defects: list[str] = []
        self._batches = 0
        self._alarmed_at: int | None = None

    def take(self, step: Step) -> Sequence[Alarm]:
        if not isinstance(step, Arrived) or step.rank or self.defects:
            return ()
        record = step.record
        try:
            if isinstance(record, BatchEnded):
                self._batches += 1
                return self._heard(fired=self._rule.on_batch(record))
            return self._heard(fired=self._rule.on_event(record))
        except Exception as error:  # noqa: BLE001 - the rule is somebody else's; it must not end the bench
            return self._off(error)

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        if self.defects:
            return ()
        try:
            return self._heard(fired=self._rule.on_silence(waited_s))
        except Exception as error:  # noqa: BLE001 - as above
            return self._off(error)

    def fork(self) -> Published:
        other = copy(self)
        other._rule = deepcopy(self._rule)
        return other

    def _heard(self, *, fired: bool) -> Sequence[Alarm]:
        if not fired:
            return ()
        before, self._alarmed_at = self._alarmed_at, self._batches
        if before is not None and self._batches - before <= STREAK_GAP_BATCHES:
            return ()
        return (Alarm(Level.TOLD, self.name, (), 0, ""),)

    def _off(self, error: Exception) -> Sequence[Alarm]:
        self.defects = [f"{self.name} raised {type(error).__name__}: {error}; it is switched off for this case"]
        return ()
