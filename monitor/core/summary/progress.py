"""What was done about an incident, and whether the training is healthy now, in one sentence each. Pure."""

from __future__ import annotations

from monitor.core.format import count, plural, saved_place, when
from monitor.core.model import ActionKind, Family, Incident, IncidentState, Severity
from monitor.core.state.crash import without_crash
from monitor.core.state.epochs import totals_of
from monitor.core.state.finding_log import going_on
from monitor.core.state.intervals import stands_still_since_s
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.run_documents import RunOutcome
from trainer_hooks.wire.words import TrainingEnd

ENDED: dict[str, str] = {
    RunOutcome.FINISHED: "finished",
    RunOutcome.FAILED: "failed",
    RunOutcome.STOPPED: "was stopped",
    RunOutcome.HELD: "has stopped and waits for you",
}
HEALTH = {
    IncidentState.OPEN: "Not healthy: the problem is still there.",
    IncidentState.RELAPSED: "Not healthy: the problem came back after the change.",
    IncidentState.MITIGATING: "Not known yet: the change is not in force.",
    IncidentState.CLOSED: "Not proven healthy: the run ended before that.",
    IncidentState.LOST: "Not known: the training process vanished.",
    IncidentState.HANDED_OVER: "Not checked: a person took over.",
}
DETECTORS_NAMED = 3


def done(run: RunState, training: TrainingState, incident: Incident | None) -> str:  # noqa: PLR0911 - a case an action
    """The last action; empty where there was nothing to act on."""
    if incident is None:
        return ""
    if incident.action.kind == ActionKind.STOP:
        tries = incident.totals.rollbacks
        what = f"After {plural(tries, 'try')} to go back, the training" if tries else "The training"
        return f"{what} {_stopped(run, training, incident)}. Every file is kept."
    if incident.state is IncidentState.HANDED_OVER and not incident.action.kind:
        return f"{incident.outcome}."
    if incident.action.kind in (ActionKind.ADJUST, ActionKind.UNDO, ActionKind.ROLLBACK):
        return _acted(incident)
    if incident.action.declined:
        return f"The training did not go back: {incident.action.reason}."
    if incident.action.kind == ActionKind.GO_ON:
        return f"Training goes on with its bad steps skipped: {incident.action.reason}."
    return _not_acted(incident)


def _stopped(run: RunState, training: TrainingState, incident: Incident) -> str:
    """How far an order to stop has come."""
    if training.how == TrainingEnd.FINISHED and training.over:
        return "was ordered to stop, and finished"
    if training.generation != incident.opened_at.generation or not run.trains(training):
        return "was stopped"
    if training.ledger.pending is None and not training.ledger.leaving:
        return "was ordered to stop, and did not"
    return "is being stopped"


def _not_acted(incident: Incident) -> str:
    if incident.state is IncidentState.RECOVERED:
        return "Nothing."  # a reason to wait is over
    if incident.action.waiting_for:
        return "Nothing yet. A checkpoint is being examined first."
    if incident.action.reason:
        return f"Nothing: {incident.action.reason}."
    chosen = next((option.name for option in incident.at_open.options if option.chosen), "")
    chose = f" The policy chose: {chosen}." if chosen else ""
    return f"Nothing yet.{chose}" if chosen or incident.state is IncidentState.OPEN else "Nothing."


def _acted(incident: Incident) -> str:
    action, attempts = incident.action, incident.totals.attempts
    changes = ", ".join(f"{c.setting} {c.old} -> {c.new}" for c in action.changes) or "no setting changed"
    again = f" (action {attempts} of this incident)" if attempts > 1 else ""
    verb = _verb(incident)
    if action.kind == ActionKind.UNDO:
        return f"The settings {_verb(incident, plural=True)} put back in place{again}: {changes}."
    if action.kind == ActionKind.ADJUST:
        return f"The training {verb} changed in place{again}: {changes}."
    target = action.plan.target if action.plan else None
    place = saved_place(*target.holds) if target else ""
    proof = _proof(incident)
    if incident.family == Family.CRASH:
        return f"The training {verb} started again from {place or 'its beginning'}{again}.{proof}"
    back = f" to {place}" if place else ""
    return f"The training {verb} rolled back{back}{again}: {changes}.{proof}"


def _proof(incident: Incident) -> str:
    """Whether the first losses prove the return, in a sentence with a space before; empty: not compared yet."""
    found = incident.action.first_losses
    return "" if found is None else f" The return is {found.outcome}: {found.text}."


def _verb(incident: Incident, *, plural: bool = False) -> str:
    one, many = "was to be", "were to be"
    if incident.state is IncidentState.MITIGATING:
        one, many = "is being", "are being"
    elif incident.action.applied_s is not None or incident.action.resumed_s is not None:
        one, many = "was", "were"
    return many if plural else one


def now(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    """Whether training is healthy now."""
    return " ".join(
        part
        for part in (
            _health(run, training, incident),
            _end(run),
            _unwatched(training),
            _other_findings(run, training, incident),
        )
        if part
    )


def _health(run: RunState, training: TrainingState, incident: Incident | None) -> str:  # noqa: PLR0911 - a case a state
    if (incident is None or not incident.live) and (text := _stands_still(run, training)):
        return text
    if incident is None:
        return "" if run.ended else _without_incident(run, training)
    match incident.state:
        case IncidentState.RESOLVED | IncidentState.RECOVERED:
            proven = incident.watch.seen >= incident.watch.needed  # else another incident followed at once
            return f"{'Healthy' if proven else 'Over'}: {incident.outcome}."
        case IncidentState.GIVEN_UP:
            return f"Not healthy: {incident.action.reason or incident.outcome}."
        case IncidentState.WATCHING:
            return _watched(incident)
        case IncidentState.OPEN if incident.family == Family.CRASH:
            return "The training is not running."
        case IncidentState.CLOSED if not run.ended and incident.outcome:
            return f"Not proven healthy: {incident.outcome}."
    return HEALTH[incident.state]


def _stands_still(run: RunState, training: TrainingState) -> str:
    """That it hangs, in a sentence; empty: it does not."""
    hang = next((finding for finding in going_on(run, training) if finding.family == Family.HANG), None)
    if hang is None or not run.trains(training):
        return ""
    since_s = stands_still_since_s(training) if not hang.rank else None
    return f"Not healthy: training stands still since {when(since_s)}." if since_s else f"Not healthy: {hang.summary}."


def _without_incident(run: RunState, training: TrainingState) -> str:
    if not run.alive and run.died_with_machine == run.generation and run.generation:
        return "The training died with the machine, which was started again."
    if not run.alive:
        return "The training process is not running." if training.generation else "The training has not started yet."
    if training.over:
        return f"Training {training.number} has ended ({training.how}), and its script goes on."
    if training.started is None:
        return "The training has not started yet."
    if not totals_of(training).batches:
        return "Not known yet: no batch has ended."
    warned = any(finding.severity is not Severity.INFO for finding in going_on(run, training))
    return "No incident is open." if warned else "Healthy."


def _watched(incident: Incident) -> str:
    if incident.tolerated and not incident.acted_on and not incident.action.declined:
        return "The state is clean, and the steps of bad batches are skipped."
    if incident.family == Family.OPERATOR and not incident.totals.attempts:
        return "Unchanged: what was asked for was not done."
    if incident.totals.attempts == 0 and not incident.watch.seen:
        return HEALTH[IncidentState.OPEN]
    seen = f"{count(incident.watch.seen)} of the {plural(incident.watch.needed, 'healthy batch')}"
    left = incident.watch.samples_left if incident.totals.attempts else None
    samples = f" {plural(left, 'sample')} of the first bad batches did not come again yet." if left else ""
    proof = "that prove the cure" if incident.totals.attempts else "that end the incident"
    return f"Not proven healthy yet: {seen} {proof} are done.{samples}"


def _end(run: RunState) -> str:
    if not run.ended:
        return ""
    what = "training" if any(each.seen for each in run.trainings.values()) else "command"
    how = ENDED.get(run.ended, f"ended: {run.ended}")
    detail = "" if run.ended == RunOutcome.FINISHED else without_crash(run, run.ended_detail)
    return f"The {what} {how}{': ' + detail if detail else ''}."


def _unwatched(training: TrainingState) -> str:
    return (
        f"Not watched in full: {'; '.join(dict.fromkeys(training.unwatched.values()))}." if training.unwatched else ""
    )


def _other_findings(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    family = incident.family if incident is not None else ""
    others = [f for f in going_on(run, training) if f.family not in (family, Family.HANG)]
    names = list(dict.fromkeys(f"{f.detector} ({f.severity})" for f in others))
    return f"Other findings lately: {', '.join(names[:DETECTORS_NAMED])}." if names else ""
