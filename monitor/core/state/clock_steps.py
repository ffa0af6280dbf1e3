"""What a gap in the daemon's time changes: time in which nobody looked is no silence of a training. Pure."""

from __future__ import annotations

from monitor.core.state.run import Fleet, RunState, TrainingState

STEP_BACK_S = 60.0  # a clock that was corrected goes back further than this; a smaller step is waited out


def later(before_s: float, now_s: float) -> float:
    """The core's time after an entry: it never goes back, but for a clock that was wrong and was corrected."""
    return now_s if now_s < before_s - STEP_BACK_S else max(before_s, now_s)


def put_back(fleet: Fleet) -> None:
    """The clock was ahead and was corrected: nothing that a live run waits for may lie in the future."""
    for run in fleet.runs.values():
        run.opened_s = min(run.opened_s, fleet.now_s)
        if run.ended_s is not None:
            run.ended_s = min(run.ended_s, fleet.now_s)
        for training in run.trainings.values():
            _shift(training, 0.0, fleet.now_s)


def asleep(run: RunState, asleep_s: float, now_s: float) -> None:
    """Nobody looked for `asleep_s`, which end now: what waited then waits from now on as long as it had before."""
    for training in run.trainings.values():
        if run.trains(training):
            _shift(training, asleep_s, now_s)


def _shift(training: TrainingState, by_s: float, now_s: float) -> None:
    """Move every time that something is waited for since, at most to `now_s`."""
    silence, pending, streak = training.silence, training.ledger.pending, training.ledger.stacks.streak
    if silence.phase_since_s:
        silence.phase_since_s = min(silence.phase_since_s + by_s, now_s)
    for rank in training.ranks.values():
        if rank.last_batch_s is not None:
            rank.last_batch_s = min(rank.last_batch_s + by_s, now_s)
    if training.epochs and training.epochs[-1].ended_s is None:  # else the pace, and with it the finish, would be wrong
        training.epochs[-1].started_s = min(training.epochs[-1].started_s + by_s, now_s)
    if streak is not None:
        streak.began_s, streak.sent_s = min(streak.began_s + by_s, now_s), min(streak.sent_s, now_s)
    if pending is not None:
        pending.since_s, pending.sent_s = min(pending.since_s + by_s, now_s), min(pending.sent_s, now_s)
