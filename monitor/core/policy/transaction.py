"""What the policy reads while it reacts to one input, and the effects that it collects. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from monitor.core.model import (
    AlertKind,
    Effect,
    Finding,
    Incident,
    IncidentEntry,
    Notify,
    RaiseAlert,
    Severity,
    WriteReport,
)
from monitor.core.policy.lifecycle import IncidentEvent, after
from monitor.core.policy.settings import Policy
from monitor.core.policy.texts import incident_text
from monitor.core.state.ledger import Ledger
from monitor.core.state.run import RunState, TrainingState

NAME_MAX = 120  # characters
TIMELINE_MAX = 400  # lines of one incident's timeline; the middle is cut, since both ends matter


def shown_name(run: RunState) -> str:
    """What people call the run, in one printable line: it becomes the title of a message."""
    title = "".join(c if c.isprintable() else " " for c in run.spec.title)
    return " ".join(title.split())[:NAME_MAX] or run.spec.run


@dataclass(slots=True)
class Transaction:
    """A training, its run, its policy and the time, while the policy reacts to one input."""

    run: RunState
    training: TrainingState
    policy: Policy
    now_s: float
    effects: list[Effect] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)  # new with this input

    @property
    def ledger(self) -> Ledger:
        """What the policy keeps of the training."""
        return self.training.ledger

    @property
    def may_act(self) -> bool:
        """True where the user launched the run to be acted on, and the supervisor that must relaunch it is there."""
        return self.run.spec.act and self.policy.act and self.run.supervisor_pid != 0

    @property
    def name(self) -> str:
        """What people call the run."""
        return shown_name(self.run)

    def effect_id(self) -> str:
        """A new id, the same on every replay."""
        self.run.ledger.effects += 1
        return f"{self.run.spec.run}/{self.run.ledger.effects}"

    @property
    def alert_key(self) -> str:
        """What the id of an alert about this training begins with. The first training's is the run's own."""
        number = self.training.number
        return self.run.spec.run if number == 1 else f"{self.run.spec.run}/t{number}"

    def incident_id(self) -> tuple[str, int]:
        """Id and number of a new incident; numbers go on over all trainings of the run."""
        self.run.ledger.incidents += 1
        return f"{self.run.spec.run}-i{self.run.ledger.incidents}", self.run.ledger.incidents

    def notify(self, text: str, severity: Severity = Severity.INFO, family: str = "") -> None:
        """A line for the run's terminal. `family`: of the findings that it speaks of."""
        self.effects.append(Notify(self.effect_id(), self.run.spec.run, severity, text, family))

    def record(self, incident: Incident, text: str, severity: Severity = Severity.INFO) -> None:
        """A line for the terminal and for the incident's timeline, whose report is rewritten."""
        incident.timeline.append(IncidentEntry(self.now_s, text))
        del incident.timeline[TIMELINE_MAX // 2 : -TIMELINE_MAX // 2]
        self.notify(text, severity)
        self.report(incident)

    def report(self, incident: Incident) -> None:
        """Have the report of `incident` rewritten, once in this transaction."""
        if not any(isinstance(e, WriteReport) and e.incident == incident.id for e in self.effects):
            self.effects.append(WriteReport(self.effect_id(), self.run.spec.run, incident.id))

    def alert(
        self, kind: AlertKind, title: str, text: str, severity: Severity, incident: Incident | None = None
    ) -> None:
        """Notify people. With an incident the text begins with its summary.

        The id is the same for the same event of the same incident.
        """
        about = (
            f"{incident.id}/{kind}/{incident.totals.attempts}"
            if incident
            else f"{self.run.spec.run}/{kind}/{self.run.generation}"
        )
        known = incident.id if incident else ""
        text = incident_text(self.run, self.training, incident, self.now_s, text) if incident else text
        self.effects.append(RaiseAlert(about, self.run.spec.run, kind, severity, known, title, text, self.now_s))

    def move(self, incident: Incident, incident_event: IncidentEvent) -> None:
        """Take the incident to the state that follows. Raises Impossible, which is our own defect."""
        incident.state = after(incident.state, incident_event)
        if not incident.live and incident.closed_s is None:
            incident.closed_s = self.now_s
            self.answer_nonfinite()

    def answer_nonfinite(self) -> None:
        """Something was done about the non-finite batches so far: no rule counts them again."""
        self.training.ledger.answered = {n: rank.counts.batches for n, rank in self.training.ranks.items()}

    def of(self, training: TrainingState) -> Transaction:
        """The same transaction for another training of the run."""
        if training is self.training:
            return self
        return replace(self, training=training)
