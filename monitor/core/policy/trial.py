"""An adjustment in place on trial: the rate of bad batches with it is held against the one before. Pure.

A look is due once LOOK_INTERVALS bad batches were to be expected at the old rate: half of them, or fewer, is then no
chance. What does not help is undone, since a lower rate trains less.
"""

from __future__ import annotations

from monitor.core.format import count, percent, plural
from monitor.core.model import ActionKind, Family, Trial, TrialStep
from monitor.core.policy.action import Action, StartWith, Trouble
from monitor.core.policy.situation import bad_batches
from monitor.core.state.run import TrainingState

LOOK_INTERVALS = 9.2  # bad batches expected at the old rate: none of them by chance is one in 10,000
LOOK_BAD = 20  # bad batches that tell as much, sooner
HELPS = 0.5  # of the rate before
WORSE = 2.0
WORSE_BAD = 8  # bad batches, at least


def next_step(trouble: Trouble) -> Action:
    """What the batches since the last step say."""
    tried = trouble.incident.trial
    passed, new = _since(trouble)
    if passed * tried.rate < LOOK_INTERVALS and new < LOOK_BAD:
        return Action(ActionKind.WAIT, "the next batches show whether the change helps")
    rate = new / max(passed, 1)
    if tried.step is TrialStep.ADJUSTED:
        if rate < HELPS * tried.rate:
            helps = f"the change helps: {_seen(new, passed)} with it, and {percent(tried.rate)} before it"
            return Action(ActionKind.GO_ON, helps)
        no_cure = f"the change does not help: {_seen(new, passed)}, as before"
        return Action(ActionKind.UNDO, no_cure, start_with=StartWith.AS_BEFORE)
    if rate > WORSE * tried.rate_during and new >= WORSE_BAD:
        return Action(ActionKind.ADJUST, f"without the change it is worse: {_seen(new, passed)}")
    return Action(ActionKind.GO_ON, "the state is clean, and the settings are not the cause")


def _seen(bad: int, batches: int) -> str:
    return f"{count(bad)} of {plural(batches, 'batch')} {'is' if bad == 1 else 'are'} not finite"


def after(trouble: Trouble, action: Action) -> Trial:
    """The trial once `action` was chosen."""
    tried = trouble.incident.trial
    passed, new = _since(trouble)
    rate = new / max(passed, 1)
    match action.kind, tried.step:
        case ActionKind.ROLLBACK, _ if not _is_on_trial(trouble, action):
            return Trial()
        case ActionKind.ROLLBACK, _:  # the new generation counts from nothing
            return Trial(TrialStep.ADJUSTED, tried.rate or _rate(trouble))
        case ActionKind.ADJUST, TrialStep.NONE:
            return Trial(TrialStep.ADJUSTED, _rate(trouble), 0.0, *_counts(trouble.training))
        case ActionKind.UNDO, _:
            return Trial(TrialStep.UNDONE, tried.rate, rate, *_counts(trouble.training))
        case _:
            settled = max(rate, tried.rate / LOOK_INTERVALS) if tried.goes_on else _rate(trouble)
            return Trial(TrialStep.SETTLED, settled, 0.0, *_counts(trouble.training))


def gone_back(tried: Trial, training: TrainingState) -> None:
    """It went back in its process, whose counts go on: what came before is no part of the trial."""
    tried.from_batch, tried.from_bad = _counts(training)


def _is_on_trial(trouble: Trouble, action: Action) -> bool:
    """True where going back is to lower the rate of bad batches, and not to leave a damaged state or because asked."""
    incident = trouble.incident
    strengthened = action.start_with is StartWith.STRENGTHENED
    return incident.family == Family.NONFINITE and incident.damaged_at is None and strengthened


def has_doubled(trouble: Trouble) -> bool:
    """True where more than twice as many batches are bad as when the trial was settled."""
    passed, new = _since(trouble)
    return new >= LOOK_BAD and new / max(passed, 1) > WORSE * trouble.incident.trial.rate


def _rate(trouble: Trouble) -> float:
    """Bad batches a batch since the onset."""
    seen = bad_batches(trouble.training, trouble.incident)
    return seen.count / seen.of


def _since(trouble: Trouble) -> tuple[int, int]:
    """Batches, and bad ones, since this step began."""
    batches, bad = _counts(trouble.training)
    return max(batches - trouble.incident.trial.from_batch, 0), max(bad - trouble.incident.trial.from_bad, 0)


def _counts(training: TrainingState) -> tuple[int, int]:
    leader = training.ranks.get(0)
    return (leader.counts.batches, leader.counts.nonfinite_batches) if leader else (0, 0)
