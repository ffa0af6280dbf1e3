"""What a person should do now, in one sentence or two. Pure."""

from __future__ import annotations

from monitor.core.model import Family, Incident, IncidentState, Verdict
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary.crash_text import is_out_of_memory
from trainer_hooks.wire.run_documents import RunOutcome

NOTHING = "Nothing."


def to_do(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    """The next step for a person; that there is none where there is none."""
    name = run.spec.run
    if run.ended:
        return _after_the_end(run, training, incident)
    if run.alive and run.spec.act and run.supervisor_pid == 0 and run.generation:
        return f"Take the run over; without a supervisor nothing can roll it back: trainwarden run --adopt {name}"
    if run.generation and not run.alive and run.supervisor_pid == 0:
        return f"Go on {_resume(run, training)}" if run.spec.act else f"Start it again. {_see(run)}"
    if incident is None:
        return NOTHING
    return _about_live(run, incident) if incident.live else _about_over(run, training, incident)


def _resume(run: RunState, training: TrainingState) -> str:
    """With which command, and from where."""
    if _has_state(training):
        return f"from the newest clean state: trainwarden resume {run.spec.run}"
    return f"from the beginning, since no clean state was saved: trainwarden resume --anew {run.spec.run}"


def _has_state(training: TrainingState) -> bool:
    """True where there is a saved state that may be clean."""
    return any(c.verdict is Verdict.SOUND and not c.abandoned and not training.dropped(c) for c in training.checkpoints)


def _about_live(run: RunState, incident: Incident) -> str:
    waiting = incident.state in (IncidentState.OPEN, IncidentState.WATCHING) and not incident.totals.attempts
    if waiting and (not run.spec.act or incident.action.person_decides):
        return f"Decide: let it train, or stop it with: trainwarden stop {run.spec.run}. {_see(run)}"
    if incident.family == Family.CRASH and is_out_of_memory(incident):
        return f"Choose a smaller batch size before it happens again. {_see(run)}"
    if incident.state is IncidentState.WATCHING:
        return f"{NOTHING} An alert follows when training is proven healthy, or when the problem comes back."
    return f"{NOTHING} The next step is automatic."


def _about_over(run: RunState, training: TrainingState, incident: Incident) -> str:
    if incident.state is IncidentState.GIVEN_UP:
        return f"Decide how to go on: {_how_to_go_on(training, incident)} {_see(run)}"
    if incident.state is IncidentState.CLOSED:
        return "Check the final metrics before you use this model: training was not proven healthy."
    return _confirm(incident)


def _after_the_end(run: RunState, training: TrainingState, incident: Incident | None) -> str:
    if run.ended == RunOutcome.FINISHED:
        return _about_over(run, training, incident) if incident is not None else NOTHING
    given_up = incident is not None and incident.state is IncidentState.GIVEN_UP
    if run.ended == RunOutcome.STOPPED and not given_up:
        return "Start the training again when you want to go on."
    if run.ended == RunOutcome.FAILED and (incident is None or incident.family == Family.CRASH):
        smaller = " (a smaller batch size)" if incident is not None and is_out_of_memory(incident) else ""
        return (
            f"Read the last lines that the training printed, repair the cause{smaller}, and go on "
            f"{_resume(run, training)}"
        )
    how = "start the training again with other settings."
    if incident is not None:
        how = _how_to_go_on(training, incident)
    return f"Decide how to go on: {how} {_see(run)}"


def _how_to_go_on(training: TrainingState, incident: Incident) -> str:
    if incident.family == Family.HANG:
        return "look at where the training stood still, then start it again."
    if incident.family == Family.LOSS_SCALE:
        return "start the training again without mixed precision."
    if _has_state(training):
        return "start the training again from a clean checkpoint, with other settings."
    return "no clean checkpoint is there, so start the training anew once the cause is removed."


def _see(run: RunState) -> str:
    return f"Details: trainwarden report {run.spec.run}"


def _confirm(incident: Incident) -> str:
    """The one test that tells whether the likely cause is right."""
    found = incident.diagnosis
    leading = next((c for c in found.causes if c.family == found.verdict), None) if found is not None else None
    if leading is None or not leading.test:
        return NOTHING
    return f"{NOTHING} To confirm the cause: {leading.test}"
