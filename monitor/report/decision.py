"""What could be done, what was decided and why, and how it ended. Pure."""

from __future__ import annotations

from monitor.core.format import count, plural, saved_place, when
from monitor.core.model import ActionKind, Family, Incident, IncidentState
from monitor.core.policy.texts import since_when, state_text
from monitor.core.state.run import RunState, TrainingState
from monitor.report.text import safe, table


def options(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The choices when it opened, with their projected cost, and the one that was taken first."""
    if not incident.at_open.options:
        return []
    rows = [["**chosen**" if o.chosen else "", safe(o.name), safe(o.cost, 600)] for o in incident.at_open.options]
    return [
        "## Options",
        "",
        "As they were when the incident opened:",
        "",
        *table(["", "option", "projected cost"], rows),
    ]


def decided(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The action that was chosen, its reason, and each setting old and new."""
    action, crash = incident.action, incident.family == Family.CRASH
    inside = action.plan is not None and action.plan.in_process
    back = "Start again" if crash else "Roll back in its process" if inside else "Stop and roll back"
    names = {
        ActionKind.GO_ON: "Go on",
        ActionKind.ADJUST: "Change settings in place",
        ActionKind.UNDO: "Put the settings back in place",
        ActionKind.ROLLBACK: back,
        ActionKind.STOP: "Stop for good",
    }
    reason = "" if incident.state is IncidentState.RECOVERED and not action.kind else safe(action.reason)
    lines = [
        "## Decision",
        "",
        f"{names.get(action.kind, 'No action')}{': ' + reason if reason else ''}.",
    ]
    plan = action.plan
    if plan and plan.target:
        place = saved_place(*plan.target.holds)
        lines.append(f"- Back to {place} (sha256 {safe(plan.target.digest[:16])}), on from epoch {plan.start_epoch}.")
    if left := action.left_at:
        in_place = action.kind in (ActionKind.ADJUST, ActionKind.UNDO)
        what = "The settings changed between two batches" if in_place else "Training stopped between two batches"
        what = "The last batch before that" if crash or (inside and not in_place) else what
        lines.append(f"- {what}: epoch {left.epoch}, batch {count(left.batch)}.")
    if action.changes:
        rows = [[safe(c.setting), safe(c.old), safe(c.new)] for c in action.changes]
        lines += ["", *table(["setting", "old", "new"], rows)]
    return lines + _read_back(training, incident)


def _read_back(training: TrainingState, incident: Incident) -> list[str]:
    plan = incident.action.plan
    applied = [a for _, a in training.applied if plan and a.plan_id == plan.id]
    lines = []
    for a in applied:
        text = "; ".join(safe(sentence) for sentence in a.mismatches) or "every setting is as the plan says"
        lines.append(f"- Read back at the {safe(a.when)}: {text}.")
    return ["", *lines] if lines else []


def outcome(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """How it ended, or what it is waiting for."""
    return ["## Outcome", "", _ending(incident), *_run_ending(run, training)]


def _ending(incident: Incident) -> str:
    if not incident.live:
        closed = f" on {when(incident.closed_s)}" if incident.closed_s is not None else ""
        state = state_text(incident).capitalize()
        return f"{state}{closed}: {safe(incident.outcome) or 'nothing more is known'}."
    if incident.state is IncidentState.WATCHING and incident.watch.needed:
        samples = (
            f"; {plural(incident.watch.samples_left, 'sample')} of the onset not met again yet"
            if incident.watch.samples_left
            else ""
        )
        seen = f"{count(incident.watch.seen)} of {plural(incident.watch.needed, 'healthy batch')}"
        return f"Not proven yet: {seen} {since_when(incident)}{samples}."
    if incident.state is IncidentState.MITIGATING:
        return "Begun: the decision is not in force yet."
    return "Still open."


def _run_ending(run: RunState, training: TrainingState) -> list[str]:
    if not run.ended:
        return []
    metrics = ", ".join(f"{safe(name)} {number:.4g}" for name, number in sorted(training.final_metrics.items())[:12])
    detail = f": {safe(run.ended_detail)}" if run.ended_detail else ""
    lines = [f"- The run {safe(run.ended)}{f' on {when(run.ended_s)}' if run.ended_s else ''}{detail}."]
    return lines + ([f"- Last metrics: {metrics}."] if metrics else [])
