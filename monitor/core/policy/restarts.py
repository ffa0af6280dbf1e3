"""What the policy does when a generation has died: the plan of the next one, or why there is none. Pure.

The supervisor waits for the answer, which `answer_of` reads from the state: it never waits for longer than it says.
"""

from __future__ import annotations

from monitor.core.model import Family, Finding, GenerationDied, Incident, IncidentState, Position, Severity
from monitor.core.model.channel import RestartAnswer
from monitor.core.policy import go_back
from monitor.core.policy.incidents import decide, open_incident
from monitor.core.policy.lifecycle import IncidentEvent
from monitor.core.policy.order_answers import failed
from monitor.core.policy.restart_limits import (
    counted,
    left_undone,
    out_of_memory,
    way_of,
    what_died,
    why_no_more,
    why_not,
)
from monitor.core.policy.transaction import Transaction
from monitor.core.state.ledger import Restarts
from monitor.core.state.run import RunState
from trainer_hooks.wire.words import OUT_OF_MEMORY, TrainingEnd

DETECTOR = "supervisor"  # who found that the process is gone


def on_generation_died(tx: Transaction, death: GenerationDied) -> None:
    """Begin a new start from the newest clean state, where nothing speaks against it."""
    if _plan_is_made(tx.run):
        return
    undone = left_undone(tx.run, bool(death.asked_by))
    if undone is None:
        finished = any(each.over and each.how == TrainingEnd.FINISHED for each in tx.run.trainings.values())
        tx.run.ledger.not_restarted = "its training has finished" if finished else "it had not trained a single batch"
        return
    tx = tx.of(undone)
    tx.run.ledger.not_restarted = _why_not(tx, death)
    if not tx.run.ledger.not_restarted:
        _start_again(tx, death)


def _why_not(tx: Transaction, death: GenerationDied) -> str:
    """What a person asks for has no limit but that there is a state to go back to."""
    if not death.asked_by and (why := why_not(tx, death)):
        return why
    if not go_back.may_have_state(tx.training, tx.policy):
        return go_back.NOTHING_CLEAN
    if death.asked_by:
        tx.ledger.restarts = Restarts()
        tx.ledger.suspicion_s = tx.now_s  # after a power cut a file need not be what it was: it is examined again
        return ""
    if why := why_no_more(tx.policy.restart, tries := counted(tx, death)):
        return why
    tx.ledger.restarts = tries
    return ""


def _start_again(tx: Transaction, death: GenerationDied) -> None:
    incident, at = tx.training.incident, tx.training.died_at
    assert at is not None
    if incident is None or incident.family != Family.CRASH:
        finding = _finding(tx, death, at, incident)
        if incident is not None:
            incident.outcome = "its process died before it was over"
            tx.move(incident, IncidentEvent.RUN_ENDED)
            tx.record(incident, f"incident {incident.number} ends here: {incident.outcome}", Severity.WARNING)
        open_incident(tx, [finding], asked=bool(death.asked_by))
        return
    tx.record(incident, f"again: {what_died(death, at)}", Severity.CRITICAL)
    incident.asked = bool(death.asked_by)
    if incident.state is IncidentState.MITIGATING:
        failed(tx, incident, "the new start died before it trained")
    else:
        decide(tx, incident)


def _finding(tx: Transaction, death: GenerationDied, at: Position, before: Incident | None) -> Finding:
    """The incident about it begins where a live one began: what was saved since is no state to go back to."""
    since = before.began if before is not None and not before.tolerated else at
    return Finding(
        detector=DETECTOR,
        family=Family.CRASH,
        severity=Severity.INFO if death.asked_by else Severity.CRITICAL,
        rank=0,
        at=at,
        since=since,
        signal=OUT_OF_MEMORY if out_of_memory(death) else way_of(death),
        value=0.0,
        limit=0.0,
        summary=f"{what_died(death, at)}{f'; {death.asked_by} resumes it' if death.asked_by else ''}",
    )


def _plan_is_made(run: RunState) -> bool:
    """True where the next generation has a plan, or is about to get one: of a new start or of a rollback."""
    incidents = [each.incident for each in run.trainings.values() if each.incident is not None]
    return any(
        go_back.goes_back(incident) and incident.action.plan and incident.action.plan.generation > run.generation
        for incident in incidents
    )


def answer_of(run: RunState) -> RestartAnswer:
    """What the supervisor may expect."""
    if not run.dead:
        return RestartAnswer.UNKNOWN
    if _plan_is_made(run):
        return RestartAnswer.PLAN
    examining = any(each.incident and each.incident.action.waiting_for for each in run.trainings.values())
    return RestartAnswer.WAIT if examining else RestartAnswer.NONE


def why_none(run: RunState) -> str:
    """Why no plan follows the death of a generation, a clause; empty: one does, or nobody asked."""
    if answer_of(run) != RestartAnswer.NONE or run.ledger.not_restarted:
        return run.ledger.not_restarted
    crashes = [
        each.incident for each in run.trainings.values() if each.incident and each.incident.family == Family.CRASH
    ]
    return next((incident.action.reason for incident in crashes), "")
