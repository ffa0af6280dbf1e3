"""Going back to a clean checkpoint: which one, what it costs, and when it is not worth it. Pure."""

from __future__ import annotations

import math

from monitor.core.format import batches, percent, plural
from monitor.core.model import ActionKind, Incident, IncidentState, Position, Verdict
from monitor.core.policy.action import Action, StartWith, Trouble
from monitor.core.policy.in_process import goes_back_in_process, puts_state_back
from monitor.core.policy.settings import Policy
from monitor.core.policy.trust import clean_ones, plausible_ones
from monitor.core.state.checkpoints import batches_since
from monitor.core.state.epochs import totals_of
from monitor.core.state.projection import batches_after, batches_to_end, pace_s, redo_batches
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState

NEW_START_S = 20.0  # of a process: imports, data sets and the first batch take 5 to 30 s
NOTHING_CLEAN = "there is no clean checkpoint"


def to_newest(  # noqa: PLR0911 - a ladder
    trouble: Trouble, why: str, start_with: StartWith, *, damaged: bool = False
) -> Action:
    """Go back to the newest clean checkpoint; stop where there is none, or where going back is not worth it."""
    found = _target(trouble)
    if found is None and (waiting := _being_examined(trouble)):
        return Action(ActionKind.EXAMINE, f"the {waiting.title} is being examined", waiting)
    if cooling := _cooling_down(trouble):
        return Action(ActionKind.WAIT, cooling)
    if found is None:
        return Action(ActionKind.STOP, f"{why}; {_what_is_there(trouble)}")
    if not _state_alone(trouble) and (held := _holds_nearly_all(trouble, found)) and damaged:
        return Action(ActionKind.STOP, f"{why}; {held}")
    if not goes_back_in_process(trouble, found) and (unreachable := _costs_too_much(trouble, found)):
        return Action(ActionKind.STOP, f"{why}; {unreachable}")
    spent = trouble.training.ledger.rollbacks_used
    if spent >= trouble.policy.rollback.budget:
        return Action(ActionKind.STOP, f"{why}; {_spent(trouble)}; {resume_by_hand(found)}")
    return _examined_first(trouble, found) or _back(trouble, found, why, start_with)


def from_clean(  # noqa: PLR0911 - a ladder
    trouble: Trouble, why: str = "the policy says when_clean: rollback"
) -> Action | None:
    """Go back although the state is clean; None: that would cost more than it can gain."""
    found = _target(trouble)
    if found is None and (waiting := _being_examined(trouble)):
        return Action(ActionKind.EXAMINE, f"the {waiting.title} is being examined", waiting)
    if cooling := _cooling_down(trouble):
        return Action(ActionKind.WAIT, cooling)
    if trouble.training.ledger.rollbacks_used >= trouble.policy.rollback.budget:
        return Action(ActionKind.GO_ON, f"the state is clean, and {_spent(trouble)}")
    if found is None or _redo(trouble, found) > _redo_limit(trouble):
        return None
    if _relaunch_redoes(trouble) and not goes_back_in_process(trouble, found):
        return None
    left = batches_to_end(trouble.training)
    if left is not None and _redo(trouble, found) > left:
        return None
    return _examined_first(trouble, found) or _back(trouble, found, why, StartWith.STRENGTHENED)


def after_hang(trouble: Trouble, tries: int, start_with: StartWith) -> Action:
    """Start again from the newest clean checkpoint, the same one as before if need be. `tries`: before this one."""
    found = next(iter(plausible_ones(trouble.training, trouble.policy.rollback, None)), None)
    if found is None:
        return Action(ActionKind.WATCH, "it stands still, and there is no clean checkpoint to start again from")
    if redone := _costs_too_much(trouble, found):
        return Action(ActionKind.WATCH, f"it stands still; {redone}")
    why = f"it stands still (try {tries + 1} of {trouble.policy.table.hang_tries})"
    return _examined_first(trouble, found) or _back(trouble, found, why, start_with)


def after_crash(trouble: Trouble) -> Action:
    """Start again from the newest clean state; the limits of that are in restart_limits."""
    found = newest_state(trouble.training, trouble.policy)
    waiting = _being_examined(trouble, trouble.training.died_at)  # the incident may be that of an earlier death
    if waiting is not None and (found is None or _saved_at(waiting) > _saved_at(found)):
        return Action(ActionKind.EXAMINE, f"the {waiting.title} is being examined", waiting)
    if found is None:
        return Action(ActionKind.WATCH, NOTHING_CLEAN)
    asked = trouble.incident.asked
    if not asked and (redone := _costs_too_much(trouble, found)):
        return Action(ActionKind.WATCH, redone)
    tries = plural(trouble.training.ledger.restarts.count, "try")
    why = "a person resumes it" if asked else f"its process died ({tries} of {trouble.policy.restart.tries})"
    return _examined_first(trouble, found) or _back(trouble, found, why, StartWith.AS_BEFORE)


def newest_state(training: TrainingState, policy: Policy) -> CheckpointState | None:
    """The newest clean state that a new start can go on from, whatever was tried before."""
    return next(iter(plausible_ones(training, policy.rollback, None)), None)


def may_have_state(training: TrainingState, policy: Policy) -> bool:
    """True where there is one, or may be one once it is examined."""
    waiting = any(c.verdict is Verdict.WAITING and not training.dropped(c) for c in training.checkpoints)
    return waiting or newest_state(training, policy) is not None


def _saved_at(checkpoint: CheckpointState) -> tuple[int, int]:
    return checkpoint.generation, checkpoint.count


def has_target(trouble: Trouble) -> bool:
    """True where there is a checkpoint to go back to, or may be one once it is examined."""
    return _target(trouble) is not None or _being_examined(trouble) is not None


def has_others(trouble: Trouble) -> bool:
    """True where the script trains more than this one: another training of this process has begun."""
    run, training = trouble.run, trouble.training
    return any(
        each is not training and each.generation == run.generation and each.seen for each in run.trainings.values()
    )


def resume_by_hand(checkpoint: CheckpointState) -> str:
    """Where a person finds the newest clean state."""
    if checkpoint.is_snapshot:
        return f"the newest clean state is the {checkpoint.title}: {checkpoint.path}"
    return f"the newest clean checkpoint is that of epoch {checkpoint.epoch}: {checkpoint.path}"


def _target(trouble: Trouble) -> CheckpointState | None:
    """The newest state; one that the process itself goes back to where that costs less than a new start."""
    found = plausible_ones(trouble.training, trouble.policy.rollback, trouble.incident)
    inside = next((each for each in found if goes_back_in_process(trouble, each)), None)
    if inside is None or inside is found[0]:
        return found[0] if found else None
    more = _redo(trouble, inside) - _redo(trouble, found[0])
    dearer = more * (pace_s(trouble.training) or math.inf) > NEW_START_S and more > _relaunch_redoes(trouble)
    return found[0] if dearer else inside


def _back(trouble: Trouble, found: CheckpointState, why: str, start_with: StartWith) -> Action:
    if _state_alone(trouble):
        lost = f"the state alone goes back, and the training of {batches(_redo(trouble, found))} is lost"
        return Action(ActionKind.ROLLBACK, why, found, start_with, lost)
    redo = f"{batches(_redo(trouble, found))} to train again"
    others = 0 if goes_back_in_process(trouble, found) else _relaunch_redoes(trouble)
    also = f", and {batches(others)} of the trainings before it" if others else ""
    return Action(ActionKind.ROLLBACK, why, found, start_with, f"{redo}{also}")


def _examined_first(trouble: Trouble, found: CheckpointState) -> Action | None:
    if found.examined_s >= (trouble.training.ledger.suspicion_s or 0.0):
        return None
    again = f"the {found.title} is examined again before it is trusted"
    return Action(ActionKind.EXAMINE, again, found)


def _state_alone(trouble: Trouble) -> bool:
    return puts_state_back(trouble.training, trouble.policy.rollback, trouble.incident.family)


def _redo(trouble: Trouble, checkpoint: CheckpointState) -> int:
    """Batches to train again, or where the state alone goes back those that are lost."""
    if _state_alone(trouble):
        return batches_since(trouble.training, checkpoint)
    position, started = trouble.training.position or trouble.training.died_at, trouble.training.last_start
    if position is None or started is None:
        return 0
    return redo_batches(checkpoint.holds, position, max(started.batches_per_epoch, 1))


def _redo_limit(trouble: Trouble) -> float:
    started = trouble.training.started
    return trouble.policy.rollback.redo_limit_epochs * (max(started.batches_per_epoch, 1) if started else 1)


def _holds_nearly_all(trouble: Trouble, checkpoint: CheckpointState) -> str:
    """Row 6: why the training ends with its clean checkpoint; empty: going back is worth it."""
    left, started = batches_to_end(trouble.training), trouble.training.started
    if left is None or started is None or _redo(trouble, checkpoint) <= left:
        return ""
    share = (checkpoint.epoch + checkpoint.extra_batches / max(started.batches_per_epoch, 1)) / started.epochs
    if share < trouble.policy.table.end_share:
        return ""
    return f"the clean {checkpoint.title} holds {percent(share)} of all steps: use {checkpoint.path}"


def _spent(trouble: Trouble) -> str:
    used, budget = trouble.training.ledger.rollbacks_used, trouble.policy.rollback.budget
    return f"{plural(used, 'rollback')} spent (the budget: {budget})"


def _what_is_there(trouble: Trouble) -> str:
    """No checkpoint can be gone back to: what there is, by its path."""
    started = trouble.training.started
    known = [
        c
        for c in clean_ones(trouble.training, trouble.policy.rollback)
        if started is None or c.ordinal == started.ordinal
    ]
    if not known:
        return f"{NOTHING_CLEAN}, and every file is kept as it is"
    return f"nothing more can be done without a person; {resume_by_hand(known[0])}"


def _cooling_down(trouble: Trouble) -> str:
    """Why no action follows yet; empty: one may."""
    leader, last = trouble.training.ranks.get(0), trouble.training.ledger.last_action
    pause = trouble.policy.rollback.cool_down_batches
    if leader is None or last is None or last.generation != trouble.training.generation:
        return ""
    if leader.counts.batches - last.count >= pause:
        return ""
    return f"an action was taken fewer than {plural(pause, 'batch')} ago"


def _relaunch_redoes(trouble: Trouble) -> int:
    """Batches of other trainings that a new start of the script would train again."""
    others = [each for each in trouble.run.trainings.values() if each is not trouble.training and each.starts]
    return sum(totals_of(each).batches for each in others)


def _costs_too_much(trouble: Trouble, found: CheckpointState) -> str:
    """Why a new start of the script costs more than it saves; empty: it does not."""
    started = trouble.training.last_start
    ordinal = started.ordinal if started else 1
    others = _relaunch_redoes(trouble)
    if ordinal <= 1 and not others:
        return ""
    going_on = [
        each.number
        for each in trouble.run.trainings.values()
        if each is not trouble.training and each.started is not None and trouble.run.trains(each)
    ]
    if going_on:
        return f"a new start of the script would end training {going_on[0]}, which goes on; {resume_by_hand(found)}"
    left = batches_after(found.holds, started.epochs, started.batches_per_epoch) if started else 0
    if 0 < others <= left:
        return ""
    number = max(ordinal, trouble.training.number)
    redone = f"{batches(others)} of the trainings before it" if others else "the trainings before it"
    return (
        f"this is training {number} of its script, and a new start would train {redone} again, while {batches(left)} "
        f"of this one {'is' if left == 1 else 'are'} left; {resume_by_hand(found)}"
    )


def goes_back(incident: Incident) -> bool:
    """True while its rollback is under way, and the next generation starts from its plan."""
    plan = incident.action.plan
    inside = plan is not None and plan.in_process
    return incident.state is IncidentState.MITIGATING and incident.action.kind == ActionKind.ROLLBACK and not inside


def other_going_back(trouble: Trouble) -> TrainingState | None:
    """Another training whose rollback has begun: a second plan for the next generation would replace its plan."""
    for other in trouble.run.trainings.values():
        if other is not trouble.training and other.incident is not None and goes_back(other.incident):
            return other
    return None


def _being_examined(trouble: Trouble, before: Position | None = None) -> CheckpointState | None:
    """A checkpoint from before the onset that has no verdict yet, or from `before` that: worth waiting for."""
    training, since = trouble.training, before or trouble.incident.onset
    onset = (since.generation, since.count)
    waiting = [
        c
        for c in training.checkpoints
        if c.verdict is Verdict.WAITING and not training.dropped(c) and (c.generation, c.count) < onset
    ]
    return waiting[-1] if waiting else None
