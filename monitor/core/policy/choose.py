"""Which action of the ladder comes next for an incident, and why. Pure; see DESIGN "Which action first"."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.model import ActionKind, Family, Incident, IncidentState, Verdict
from monitor.core.policy.settings import Policy
from monitor.core.policy.trust import plausible_ones
from monitor.core.state.projection import redo_batches
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import RunState, TrainingState


@dataclass(frozen=True, slots=True)
class Action:
    """What to do next. `checkpoint`: what to go back to (ROLLBACK), or what is still to be examined (EXAMINE)."""

    kind: ActionKind
    reason: str
    checkpoint: CheckpointState | None = None


def provably_clean(training: TrainingState) -> bool:
    """True where the guard is on and no rank was left with non-finite parameters or buffers."""
    guarded = training.started is not None and training.started.guarded
    return guarded and all(rank.learned.uncured == 0 for rank in training.ranks.values())


def redo_epochs(training: TrainingState, checkpoint: CheckpointState) -> float:
    """Epochs that must be trained again from `checkpoint` to be where the run is now."""
    position = training.position
    if position is None or training.started is None:
        return 0.0
    per_epoch = max(training.started.batches_per_epoch, 1)
    return redo_batches(checkpoint.epoch, position, per_epoch) / per_epoch


def choose(run: RunState, training: TrainingState, incident: Incident, policy: Policy, *, may_act: bool) -> Action:  # noqa: PLR0911 - a ladder
    """The next action. Never guesses: without a clean checkpoint it adjusts what is provably clean, or stops."""
    rules = policy.rollback
    if not may_act:
        return Action(ActionKind.WATCH, _why_only_watching(run, policy))
    if _cooling_down(training, rules.cool_down_batches):
        return Action(ActionKind.WAIT, f"an action was taken fewer than {rules.cool_down_batches} batches ago")
    if (other := _other_going_back(run, training)) is not None:
        return Action(ActionKind.WAIT, f"training {other.number} of this run goes back, which starts the script again")
    clean = provably_clean(training)
    adjustable = clean and incident.totals.attempts == 0 and incident.family != Family.HANG  # which takes no adjustment
    if adjustable and (unreachable := _relaunch_redoes_other_work(run, training)):
        return Action(ActionKind.ADJUST, unreachable)
    candidates = plausible_ones(training, rules, incident)
    found = candidates[0] if candidates else None
    if found is None and (waiting := _being_examined(training, incident)):
        return Action(ActionKind.EXAMINE, f"the checkpoint of epoch {waiting.epoch} is being examined", waiting)
    if found is None:
        if adjustable:
            return Action(
                ActionKind.ADJUST,
                "there is no clean checkpoint to go back to, and the guard kept the state provably clean",
            )
        return Action(ActionKind.STOP, "no clean checkpoint is left: everything is kept as it is, nothing is guessed")
    cost = redo_epochs(training, found)
    if adjustable and cost > rules.redo_limit_epochs:
        return Action(
            ActionKind.ADJUST,
            f"the guard kept the state provably clean, and going back would redo {cost:.2f} of an epoch "
            f"(the limit: {rules.redo_limit_epochs:g})",
        )
    if unreachable := _relaunch_redoes_other_work(run, training):
        return Action(ActionKind.STOP, f"{unreachable}; resume by hand from {found.path}")
    spent = training.ledger.rollbacks_used
    if spent >= rules.budget:
        return Action(ActionKind.STOP, f"{spent} rollbacks are spent (the budget: {rules.budget})")
    if found.examined_s < (training.ledger.suspicion_s or 0.0):
        again = f"the checkpoint of epoch {found.epoch} is examined again before it is trusted"
        return Action(ActionKind.EXAMINE, again, found)
    state = "" if clean else "the model's state is not provably clean; "
    return Action(
        ActionKind.ROLLBACK,
        f"{state}epoch {found.epoch} is the newest clean checkpoint before the onset; "
        f"{cost:.2f} of an epoch is to be redone",
        found,
    )


def _why_only_watching(run: RunState, policy: Policy) -> str:
    if not run.spec.act:
        return "this run was started to be observed only"
    if not policy.act:
        return "the policy says act: false"
    return "the supervisor of this run is gone: take it over with `trainwarden run --adopt " + run.spec.run + "`"


def goes_back(incident: Incident) -> bool:
    """True while its rollback is under way: the next generation starts from its plan."""
    return incident.state is IncidentState.MITIGATING and incident.action.kind == ActionKind.ROLLBACK


def _other_going_back(run: RunState, training: TrainingState) -> TrainingState | None:
    """Another training whose rollback has begun: a second plan for the next generation would replace its plan."""
    for other in run.trainings.values():
        if other is not training and other.incident is not None and goes_back(other.incident):
            return other
    return None


def _cooling_down(training: TrainingState, cool_down_batches: int) -> bool:
    leader, last = training.ranks.get(0), training.ledger.last_action
    if leader is None or last is None or last.generation != training.generation:
        return False
    return leader.counts.batches - last.count < cool_down_batches


def _relaunch_redoes_other_work(run: RunState, training: TrainingState) -> str:
    """Why a relaunch of the script would train again what is done; empty where it would not."""
    ordinal = training.started.ordinal if training.started else 1
    others = [each.number for each in run.trainings.values() if each is not training and each.starts]
    if ordinal <= 1 and not others:
        return ""
    number = max(ordinal, training.number)
    return f"this is training number {number} of its script, and a relaunch would do the other ones again"


def _being_examined(training: TrainingState, incident: Incident) -> CheckpointState | None:
    """A checkpoint from before the onset that has no verdict yet: worth waiting for."""
    onset = (incident.onset.generation, incident.onset.count)
    waiting = [
        c
        for c in training.checkpoints
        if c.verdict is Verdict.WAITING and not training.dropped(c) and (c.generation, c.count) < onset
    ]
    return waiting[-1] if waiting else None
