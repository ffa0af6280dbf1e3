"""What is measured: the real core under a policy, and any published rule. Both get the same steps, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Protocol

from monitor.core.drive import RunDriver
from monitor.core.model import Finding, Notify, Output, Severity, Tick
from monitor.core.policy.settings import Policy
from monitor.core.state.finding_log import STREAK_GAP_BATCHES
from tests.bench.detection.rules import RuleFactory
from tests.bench.detection.streams import RUN, Arrived, DaemonRestarted, Observed, Step
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted
from trainer_hooks.wire.run_documents import RunSpec


class AlarmLevel(IntEnum):
    """The severity of an alarm, in its order, and what it leads to."""

    INFO = 0  # a line on the run's terminal
    WARNING = 1  # people are alerted; a published rule knows no other level
    CRITICAL = 2  # an incident is opened: the policy may stop the training and roll back

    @property
    def label(self) -> str:
        """The word in tables."""
        return self.name.lower()


LEVEL_OF = {
    Severity.INFO: AlarmLevel.INFO,
    Severity.WARNING: AlarmLevel.WARNING,
    Severity.CRITICAL: AlarmLevel.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `families` of faults it speaks for: empty where it does not distinguish them."""

    level: AlarmLevel
    source: str  # the detector
    families: tuple[str, ...]
    rank: int
    text: str


class Contender(Protocol):
    """Follows one case and raises alarms. A new one is made for each case."""

    name: str
    source: str
    levels: Sequence[AlarmLevel]  # at which it may raise alarms
    defects: list[str]  # its own errors, in sentences

    def take(self, step: Step) -> Sequence[Alarm]:
        """Its alarms on this step. It hears of a Silence through `wait` alone."""
        ...

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        """A second has passed; `waited_s` since the last record."""
        ...

    def fork(self) -> Contender:
        """A copy that knows the same and shares nothing."""
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


class Trainwarden:
    """The real core under one policy, as the daemon drives it: a record at a time, and a tick every second."""

    levels: Sequence[AlarmLevel] = tuple(AlarmLevel)

    def __init__(self, name: str, policy: Policy) -> None:
        self.name, self.source = f"trainwarden {name}", "this project"
        self.defects: list[str] = []
        self._driver = RunDriver(RUN)
        spec = RunSpec(run=RUN, argv=("train",), cwd=".", created_s=0.0, act=False)
        self._driver.open(spec, policy.model_dump_json())

    def take(self, step: Step) -> Sequence[Alarm]:
        driver = self._driver
        driver.now_s = step.at_s
        match step:
            case Arrived():
                if isinstance(step.record, TrainingStarted) and step.rank == 0:
                    driver.start_generation()
                return self._alarms(driver.send(step.record, step.rank))
            case Observed():
                return self._alarms(driver.feed(step.given))
            case DaemonRestarted():
                driver.reload()
        return ()

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        self._driver.now_s = at_s
        return self._alarms(self._driver.feed(Tick()))

    def fork(self) -> Trainwarden:
        other = copy(self)
        other._driver = self._driver.fork()
        return other

    def _alarms(self, output: Output) -> Sequence[Alarm]:
        """New findings; where there are none, the first line on the terminal that is a warning or worse."""
        if not output.effects and not output.findings:
            return ()
        self._note_defects()
        if output.findings:
            return [_alarm(finding) for finding in output.findings]
        lines = (e for e in output.effects if isinstance(e, Notify) and e.severity is not Severity.INFO)
        return [Alarm(AlarmLevel.INFO, "message", NAMED.get(e.family, ()), 0, e.text) for e in islice(lines, 1)]

    def _note_defects(self) -> None:
        run = self._driver.state
        if run.ledger.defects or run.switched_off:
            self.defects = [f"{run.ledger.defects} defects of the core, detectors off: {run.switched_off or 'none'}"]


def _alarm(finding: Finding) -> Alarm:
    families = NAMED_BY.get(finding.detector) or NAMED.get(finding.family, ())
    return Alarm(LEVEL_OF[finding.severity], finding.detector, families, finding.rank, finding.summary)


class PublishedRule:
    """A published rule at work. Alarms that follow each other within a streak count as one, as the core's do."""

    levels: Sequence[AlarmLevel] = (AlarmLevel.WARNING,)

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
                return self._alarms(fired=self._rule.on_batch(record))
            return self._alarms(fired=self._rule.on_event(record))
        except Exception as error:  # noqa: BLE001 - the rule is somebody else's; it must not end the bench
            return self._off(error)

    def wait(self, at_s: float, waited_s: float) -> Sequence[Alarm]:
        if self.defects:
            return ()
        try:
            return self._alarms(fired=self._rule.on_silence(waited_s))
        except Exception as error:  # noqa: BLE001 - as above
            return self._off(error)

    def fork(self) -> PublishedRule:
        other = copy(self)
        other._rule = deepcopy(self._rule)
        return other

    def _alarms(self, *, fired: bool) -> Sequence[Alarm]:
        if not fired:
            return ()
        before, self._alarmed_at = self._alarmed_at, self._batches
        if before is not None and self._batches - before <= STREAK_GAP_BATCHES:
            return ()
        return (Alarm(AlarmLevel.WARNING, self.name, (), 0, ""),)

    def _off(self, error: Exception) -> Sequence[Alarm]:
        self.defects = [f"{self.name} raised {type(error).__name__}: {error}; it is switched off for this case"]
        return ()
