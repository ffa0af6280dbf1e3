"""The evidence: checkpoints with their verdicts, the first bad batches and their samples, the timeline. Pure."""

from __future__ import annotations

from monitor.core.format import plural, value, when
from monitor.core.model import ActionKind, Incident, IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.policy.trust import judge
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RunState, TrainingState
from monitor.report.text import safe, table
from trainer_hooks.wire.words import OrderOutcome

SAMPLES_SHOWN = 16
CHECKPOINTS_SHOWN = 20
TRAINS_FROM_IT = (IncidentState.WATCHING, IncidentState.RESOLVED, IncidentState.RELAPSED)  # after a rollback
BATCHES_SHOWN = 8


def checkpoints(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """Which checkpoints there are, which of them may be trusted, and why."""
    return checkpoint_table(run, training, annotations_of(training, [incident]))


def annotations_of(training: TrainingState, incidents: list[Incident]) -> dict[str, str]:
    """By digest: what the incidents did with a checkpoint. An order that was refused went back to nothing."""
    marks: dict[str, str] = {}
    went_back = training.ledger.counters.rollbacks.get(OrderOutcome.APPLIED, 0) > 0
    for incident in incidents:
        action, rollback = incident.action, incident.action.kind == ActionKind.ROLLBACK
        trained = action.resumed_s is not None or (rollback and incident.state in TRAINS_FROM_IT)
        if action.target and (trained or (went_back and not rollback)):  # an action after a rollback keeps its target
            marks[action.target] = "gone back to"
        elif action.target and rollback and incident.state is IncidentState.MITIGATING:
            marks.setdefault(action.target, "being gone back to")
    return marks


def checkpoint_table(run: RunState, training: TrainingState, targets: dict[str, str]) -> list[str]:
    """The section of checkpoints; `targets`: see `annotations_of`."""
    if not training.checkpoints:
        return ["## Checkpoints", "", "None was saved."]
    rules = Policy.model_validate_json(run.policy).rollback if run.policy else Policy().rollback
    rows = []
    for checkpoint in training.checkpoints[-CHECKPOINTS_SHOWN:]:
        verdict, why = judge(checkpoint, training, rules)
        rows.append([*_cells(training, checkpoint, targets), f"**{verdict.value}**", safe(why, 600)])
    header = ["epoch", "generation", "saved", "", "verdict", "why"]
    return ["## Checkpoints", "", *table(header, rows)]


def _cells(training: TrainingState, checkpoint: CheckpointState, targets: dict[str, str]) -> list[str]:
    marks = {
        targets.get(checkpoint.digest, ""): checkpoint.digest in targets,
        "resumed from": checkpoint.resumed,
        "best": checkpoint.is_best,
        "deleted": training.dropped(checkpoint),
    }
    holds = ", ".join(mark for mark, so in marks.items() if so)
    return [checkpoint.cell, str(checkpoint.generation), when(checkpoint.saved_s), holds]


def samples(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The first bad batches one by one, with the samples in them as far as the framework names them."""
    onset = incident.onset
    seen = [
        s
        for generation, s in training.nonfinite_log
        if generation == onset.generation and (s.epoch, s.batch) >= (onset.epoch, onset.batch)
    ]
    if not seen and not incident.at_open.samples:
        return []
    lines = ["## The first bad batches", ""]
    for s in seen[:BATCHES_SHOWN]:
        bad = f"; first non-finite tensor: {safe(s.first_bad)}" if s.first_bad else ""
        partly = ", only a part of the batch is named" if s.samples_partial else ""
        norm = value(s.grad_norm)
        lines.append(f"- Epoch {s.epoch}, batch {s.batch}: loss {value(s.loss)}, gradient norm {norm}{bad}{partly}")
    names = incident.at_open.samples[:SAMPLES_SHOWN]
    if names:
        more = len(incident.at_open.samples) - len(names)
        lines.append(f"- Samples: {', '.join(map(safe, names))}" + (f" and {plural(more, 'other')}" if more else ""))
    return lines


def timeline(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """Every step with its time."""
    if not incident.timeline:
        return []
    rows = [[when(entry.at_s), safe(entry.text, 600)] for entry in incident.timeline]
    return ["## The timeline", "", *table(["time", "what"], rows)]
