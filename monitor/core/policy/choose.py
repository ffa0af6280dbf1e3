"""Which action comes next for an incident, and why: the decision table. Pure; the rows are in docs/decisions.md.

The first row that matches wins. A clean state gains nothing by going back, so it is never stopped, unless the policy
says so; a damaged one goes back, or stops where there is nothing to go back to.
"""

from __future__ import annotations

from dataclasses import replace

from monitor.core.format import percent, plural
from monitor.core.model import ActionKind, Family, Incident, TrialStep
from monitor.core.policy import go_back, trial
from monitor.core.policy.action import Action, StartWith, Trouble
from monitor.core.policy.settings import Policy
from monitor.core.policy.situation import (
    Damage,
    DamageKind,
    all_bad_since_start,
    bad_batches,
    began_early,
    comes_again,
    damage,
    damaging_jump,
    may_be_meant,
    rank_to_blame,
    setting_at_opening,
)
from monitor.core.policy.table_settings import WhenClean
from monitor.core.state.blame import Blame, blamed
from monitor.core.state.projection import batches_to_end
from monitor.core.state.run import RunState, TrainingState
from monitor.core.state.setting_jumps import wait_of

SAMPLES_NAMED = 3


def choose(
    run: RunState, training: TrainingState, incident: Incident, policy: Policy, *, may_act: bool, found: bool = True
) -> Action:
    """The next action. `found`: see Trouble."""
    if not may_act and not (incident.family == Family.CRASH and incident.asked):
        return Action(ActionKind.WATCH, why_only_watching(run, policy))
    trouble = Trouble(run, training, incident, policy, found)
    action = _of_table(trouble)
    asked_for = policy.when_clean is WhenClean.STOP or incident.family in (Family.HANG, Family.OPERATOR)
    if action.kind is ActionKind.STOP and not asked_for and go_back.has_others(trouble):
        spared = "a stop would end the script and its other trainings too, so this one goes on"
        return Action(ActionKind.WATCH, f"{action.reason}; {spared}")
    return action


def _of_table(trouble: Trouble) -> Action:  # noqa: PLR0911 - a ladder
    """The first row that matches."""
    training, incident, policy = trouble.training, trouble.incident, trouble.policy
    if (other := go_back.other_going_back(trouble)) is not None:
        return Action(ActionKind.WAIT, f"training {other.number} of this run goes back, which starts the script again")
    if incident.family == Family.CRASH:
        return go_back.after_crash(trouble)
    if incident.asked:
        return _asked_for(trouble)
    if incident.family == Family.HANG or incident.hangs:
        return _hang(trouble)
    if first := _from_the_first_batch(trouble):
        return first
    if (state := damage(training, policy)) is not None:
        return _damaged(trouble, state)
    return _clean(trouble)


def why_only_watching(run: RunState, policy: Policy) -> str:
    """Why nothing may be done in a run, a clause."""
    if not run.spec.act:
        return "this run was started to be observed only"
    if not policy.act:
        return "the policy says act: false"
    return "the supervisor of this run is gone: take it over with `trainwarden run --adopt " + run.spec.run + "`"


def _asked_for(trouble: Trouble) -> Action:
    """A person asked for a rollback. Where there is nothing to go back to, that is no reason to stop."""
    action = go_back.to_newest(trouble, "a person asked for it", StartWith.STRENGTHENED)
    return Action(ActionKind.WATCH, action.reason) if action.kind is ActionKind.STOP else action


def _hang(trouble: Trouble) -> Action:
    """Row 1. A start that hangs again is tried with other settings; then a person must look."""
    incident, most = trouble.incident, trouble.policy.table.hang_tries
    own = incident.family == Family.HANG  # else what it goes back for needs its settings
    tries = incident.totals.rollbacks if own else incident.totals.hang_tries
    if tries >= most:
        return Action(ActionKind.STOP, f"it stood still again after {plural(tries, 'new start')}")
    if tries + 1 == most:
        return go_back.after_hang(trouble, tries, StartWith.YOUR_OWN)
    changed = not own and incident.action.changes
    return go_back.after_hang(trouble, tries, StartWith.STRENGTHENED if changed else StartWith.AS_BEFORE)


def _from_the_first_batch(trouble: Trouble) -> Action | None:
    """Rows 2 and 3: nothing that this training could go back to was better."""
    table = trouble.policy.table
    if trouble.incident.family == Family.LOSS_SCALE:
        reason = (
            f"{trouble.incident.findings[-1].summary}. Train without mixed precision (amp=False): if that goes well, "
            "the precision was the cause"
        )
        return Action(ActionKind.STOP, reason)
    bad, started = all_bad_since_start(trouble.training), trouble.training.started
    again = started is not None and started.plan_id != ""
    if not bad or (again and any(rank.learned.uncured for rank in trouble.training.ranks.values())):
        return None  # weights that are not finite make every batch bad: the damage is what counts
    if bad < table.first_bad:
        return Action(ActionKind.WAIT, f"every batch so far is not finite; after {table.first_bad} it is decided")
    if again and trouble.incident.totals.rollbacks < 2:
        why = f"the first {plural(bad, 'batch')} after the rollback are all not finite"
        return go_back.to_newest(trouble, why, StartWith.AS_BEFORE)
    return Action(
        ActionKind.STOP,
        f"the first {plural(bad, 'batch')} are all not finite, so the cause is in the precision, the model or the "
        "input, and not in a setting that a new start could change. To tell them apart: train one batch without mixed "
        "precision; give the model a batch of zeros; look at one batch of the input for NaN",
    )


def _damaged(trouble: Trouble, state: Damage) -> Action:
    """Rows 4, 5, 6 and 12."""
    waits = trouble.policy.table.recover_wait_batches
    position = trouble.training.position
    here = position is not None and position.generation == state.since.generation
    if state.kind is DamageKind.FINITE and not state.one_event and here:
        waited = position.count - state.since.count if position else 0
        if waited < waits:
            time = plural(waits, "batch")
            return Action(ActionKind.WAIT, f"the loss is too high on finite weights, and has {time} to come back")
    if state.kind is DamageKind.FINITE and (first := _after_a_jump(trouble)):
        return first
    if state.kind is DamageKind.FINITE and not go_back.has_target(trouble):
        return _nothing_to_go_back_to(trouble, state)
    once = state.one_event and trouble.incident.totals.rollbacks == 0
    how = StartWith.AS_BEFORE if once else StartWith.STRENGTHENED
    action = go_back.to_newest(trouble, f"the state is damaged: {state.reason}", how, damaged=True)
    return replace(action, for_nonfinite=state.kind is not DamageKind.FINITE)


def _after_a_jump(trouble: Trouble) -> Action | None:
    """A setting that jumps may be meant, as many a script restarts its rate by itself; else the loss may come back.

    None: no setting jumped, or neither holds.
    """
    found = damaging_jump(trouble.training)
    if found is None:
        return None
    jump, name = found[1], found[1].name
    if comes_again(trouble.training):
        return Action(
            ActionKind.WATCH, f"the script changes {name} at the same place again, so it is left to the script"
        )
    if may_be_meant(trouble.training):
        why = f"{name} may have been changed on purpose, and the loss is not worse than at the start of the training"
        return Action(ActionKind.WAIT, why)
    left, position = batches_to_end(trouble.training), trouble.training.position
    now = position.count if position is not None else jump.back
    wait = wait_of(jump, left, now, trouble.policy.table.recover_wait_batches)
    if jump.off < wait:
        back = " is back" if jump.back else " jumped for no known reason"
        return Action(ActionKind.WAIT, f"{name}{back}, and the loss has {plural(wait, 'batch')} to come back")
    return None


def _nothing_to_go_back_to(trouble: Trouble, state: Damage) -> Action:
    """Finite weights may still recover: a stop would lose them, and a smaller rate may help."""
    found = damaging_jump(trouble.training)
    if found is not None and found[1].back:
        return Action(ActionKind.WATCH, f"{go_back.NOTHING_CLEAN}; {found[1].name} is back, and it is left to train")
    if trouble.incident.totals.attempts == 0:
        why = f"{state.reason}; there is no clean checkpoint to go back to, and smaller steps may bring it back"
        return Action(ActionKind.ADJUST, why)
    return Action(ActionKind.WATCH, f"{go_back.NOTHING_CLEAN}, and the weights are finite: it is left to train")


def _clean(trouble: Trouble) -> Action:  # noqa: PLR0911 - a ladder
    """Rows 7 to 11."""
    if trouble.incident.adjusting_asked:  # nothing was wrong, so nothing more is done, whatever came of it
        kind = ActionKind.GO_ON if trouble.incident.totals.attempts else ActionKind.ADJUST
        return Action(kind, "a person asked for it, and the state is clean")
    if found := _explained(trouble):
        return found
    if trouble.incident.family != Family.NONFINITE:
        return _clean_and_finite(trouble)
    if trouble.incident.trial.step is TrialStep.SETTLED:
        return _settled(trouble)
    if trouble.incident.trial.goes_on and not trouble.found:
        return trial.next_step(trouble)
    match trouble.policy.when_clean:
        case WhenClean.GO_ON:
            return Action(ActionKind.GO_ON, "the state is clean, and the policy says when_clean: go_on")
        case WhenClean.STOP:
            return Action(ActionKind.STOP, "the policy says when_clean: stop")
        case WhenClean.ROLLBACK:
            return go_back.from_clean(trouble) or _adjusted(trouble)
    return _adjusted(trouble)


def _explained(trouble: Trouble) -> Action | None:
    """Rows 7 and 8: a sample or one rank gives the bad batches; no setting cures that."""
    blame, rank = blamed(trouble.training, trouble.incident.onset), rank_to_blame(trouble.training)
    if blame.explains:
        why = f"the state is clean, and {_named(blame)}; their steps stay skipped"
    elif rank is not None:
        why = f"the state is clean, and all bad batches come from rank {rank}: look at it"
    else:
        return None
    if trouble.incident.trial.step is TrialStep.ADJUSTED:  # smaller steps were no cure, and train less
        return Action(ActionKind.UNDO, why, start_with=StartWith.AS_BEFORE)
    return Action(ActionKind.GO_ON, why)


def _named(blame: Blame) -> str:
    more = len(blame.samples) - SAMPLES_NAMED
    names = ", ".join(blame.samples[:SAMPLES_NAMED]) + (f" and {more} more" if more > 0 else "")
    which = f"sample {names} is" if len(blame.samples) == 1 else f"one of the samples {names} is"
    return f"{which} in {percent(blame.share)} of the {plural(blame.batches, 'bad batch')}"


def _clean_and_finite(trouble: Trouble) -> Action:
    """A finite incident whose loss is at its level: the settings are adjusted once, and it goes back on a relapse."""
    if trouble.incident.family == Family.LOSS and (name := setting_at_opening(trouble.training, trouble.incident)):
        return Action(ActionKind.WAIT, f"the loss is at its level again after {name} had changed for no known reason")
    if trouble.incident.totals.attempts == 0 and trouble.policy.when_clean is not WhenClean.ROLLBACK:
        return Action(ActionKind.ADJUST, "the state is clean, and smaller steps may calm it")
    return go_back.from_clean(trouble) or Action(ActionKind.GO_ON, "the state is clean, and going back did not help")


def _settled(trouble: Trouble) -> Action:
    """Row 11: it was decided to go on, and there are far more bad batches since."""
    seen = bad_batches(trouble.training, trouble.incident)
    if seen.share > trouble.policy.table.skip_ok and trial.has_doubled(trouble):
        why = f"{percent(seen.share)} of the batches are not finite, more than twice as many as before"
        return go_back.from_clean(trouble, why) or Action(ActionKind.GO_ON, "the state is clean")
    return Action(ActionKind.GO_ON, trouble.incident.action.reason)


def _adjusted(trouble: Trouble) -> Action:
    """Rows 9 and 10."""
    table, tried = trouble.policy.table, trouble.incident.trial
    seen = bad_batches(trouble.training, trouble.incident)
    if tried.step is not TrialStep.NONE:
        return trial.next_step(trouble)
    if trouble.incident.totals.rollbacks and trouble.incident.action.changes:
        return Action(ActionKind.GO_ON, "the state is clean, and strengthened settings did not help")
    if (suspect := blamed(trouble.training, trouble.incident.onset).suspect) and seen.share <= table.skip_ok:
        return Action(ActionKind.WAIT, f"the state is clean, and {suspect} may explain every bad batch")
    if seen.count < table.adjust_after:
        return Action(
            ActionKind.WAIT, f"the state is clean; it is decided after {plural(table.adjust_after, 'bad batch')}"
        )
    if seen.share <= table.skip_ok and began_early(trouble.training, trouble.incident, table.early_share):
        why = f"the state is clean, {percent(seen.share)} of the steps are skipped, and nothing was better before"
        return Action(ActionKind.GO_ON, why)
    return Action(ActionKind.ADJUST, "the state is clean; the next batches show whether smaller steps help")
