"""Process lives of a run: where one begins, ends, and what of a training they take with them. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.model import (
    ActionKind,
    EpochStatus,
    GenerationDied,
    GenerationExited,
    GenerationStarted,
    Incident,
    Position,
    RunEnded,
)
from monitor.core.state import first_losses
from monitor.core.state.anomalies import end_all
from monitor.core.state.checkpoints import batches_since, healthy_after
from monitor.core.state.epochs import totals_of
from monitor.core.state.intervals import fold_start, stands_still_since_s
from monitor.core.state.learned import Learned
from monitor.core.state.rows import CheckpointState, EpochRow
from monitor.core.state.run import RankState, RunState, Taken, TrainingState
from monitor.core.state.stats import snapshot_of
from monitor.core.state.trace import Trace
from trainer_hooks.wire.messages import TrainingStarted
from trainer_hooks.wire.words import Phase, TrainingEnd

STARTS_MAX = 200


def fold_generation_started(run: RunState, event: GenerationStarted, now_s: float) -> bool:
    """A generation begins. False: it had begun before, and only its process is known better now."""
    if event.number < run.generation:
        return False
    if event.number == run.generation:
        run.nonce, run.pid = event.nonce, event.pid or run.pid
        run.supervisor_pid = event.supervisor_pid or run.supervisor_pid
        return False
    if run.alive:
        _close_generation(run)
    run.generation, run.nonce, run.pid = event.number, event.nonce, event.pid
    run.supervisor_pid = event.supervisor_pid
    run.alive, run.ended, run.ended_s, run.ended_detail = True, "", None, ""
    for training in run.trainings.values():
        if not training.over:
            enter_generation(training, event.number, now_s)
    return True


def enter_generation(training: TrainingState, generation: int, now_s: float) -> None:
    """The training runs in another generation: after a rollback, from the statistics saved with the checkpoint."""
    training.generation, training.started, training.over, training.phase = generation, None, False, Phase.IDLE
    training.died_at = None
    incident = training.incident
    plan = incident.action.plan if incident else None
    goes_back = plan is not None and plan.generation == generation  # else it begins anew, for another one's plan
    target = target_of(training, incident) if incident and goes_back else None
    learned = snapshot_of(target.learned) if target and target.learned else Learned()
    learned.uncured = 0  # the target was verified
    if incident is not None:
        first_losses.begin(training, incident, target)
    training.unwatched = {}
    if target is not None:
        end_all(training, Position(generation, target.epoch, 0, 0))
    training.totals.counts = totals_of(training)  # records may have come after the exit
    training.ranks, training.taken, training.given_up = {0: RankState(0, learned=learned)}, {}, []
    fold_start(training, now_s)


def target_of(training: TrainingState, incident: Incident) -> CheckpointState | None:
    """The checkpoint that the incident rolls back to; None: it has none."""
    return next((c for c in training.checkpoints if c.digest == incident.action.target), None)


def names_parts(training: TrainingState, event: TrainingStarted) -> bool:
    """The same start once more, with the names of the loss components, which some trainers learn from the first batch.

    It is taken in here, and is no second start.
    """
    started = training.started
    if started is None or started.part_names or msgspec.structs.replace(event, part_names=()) != started:
        return False
    training.started = event
    if training.starts and training.starts[-1] == started:
        training.starts[-1] = event
    return True


def fold_training_started(run: RunState, training: TrainingState, event: TrainingStarted, now_s: float) -> None:
    """A training reports its settings, and is about to draw its first batch."""
    run.current = training.number
    for other in run.trainings.values():
        if other is not training and other.over and other.incident is None:
            _forget_statistics(other)
    training.started, training.over = event, False
    fold_start(training, now_s)
    training.starts.append(event)
    del training.starts[1:-STARTS_MAX]


def _forget_statistics(training: TrainingState) -> None:
    """It is over, and nothing reads them any more: 100 kB each are too much for a script with hundreds of trainings."""
    for rank in training.ranks.values():
        rank.learned, rank.trace = Learned(pace=rank.learned.pace), Trace()
    for checkpoint in training.checkpoints:
        checkpoint.learned = None


def fold_death(run: RunState, event: GenerationDied, now_s: float) -> bool:
    """The generation died, and its supervisor waits. False: it does not wait any more, or it was known."""
    if event.exit.number != run.generation or now_s > event.until_s or event == run.death:
        return False
    run.death = event
    if event.with_machine:
        _count_machine_death(run)
    for training in run.trainings.values():
        last = training.position or training.left_at
        if last is not None and not (training.over and training.how == TrainingEnd.FINISHED):
            count = last.count + 1 if last.generation == training.generation else 0
            training.died_at = Position(training.generation, last.epoch, last.batch, count)
    return True


def fold_exit(run: RunState, event: GenerationExited) -> bool:
    """The process is gone. False: it is not that of this generation, or was known to be gone.

    That a run goes on which had ended is news, once.
    """
    known = run.relaunched > event.exit.number if event.relaunch else not run.alive
    if event.exit.number != run.generation or known:
        return False
    if event.relaunch:
        run.relaunched = run.generation + 1
        for training in run.trainings.values():
            incident = training.incident
            in_process = incident and incident.action.plan and incident.action.plan.in_process
            if incident and incident.action.kind == ActionKind.ROLLBACK and not in_process:
                _abandon(training, incident)
    if run.alive:
        if run.exited_s is None:  # else this generation has trained no batch since the one before
            run.exited_s = min(_ended_s(run, event), _stood_since_s(run) or event.exit.ended_s)
        run.alive = False
        _close_generation(run)
        if event.with_machine:
            _count_machine_death(run)
    return True


def _count_machine_death(run: RunState) -> None:
    """Once for a generation, whoever says so first: the daemon after a while, or a supervisor that resumes the run."""
    if run.died_with_machine != run.generation:
        run.machine_deaths, run.died_with_machine = run.machine_deaths + 1, run.generation


def _stood_since_s(run: RunState) -> float | None:
    """What a hang cost begins with the last batch, not with the end of the process. None: something trained."""
    stood = [stands_still_since_s(each) for each in run.trainings.values() if run.trains(each)]
    return None if None in stood else max((s for s in stood if s is not None), default=None)


def _ended_s(run: RunState, event: GenerationExited) -> float:
    """Unix time. Where nobody saw it die, as in a power cut, that of the last batch that arrived."""
    if event.exit.code is not None or event.exit.signal is not None:
        return event.exit.ended_s
    heard = [rank.last_batch_s for each in run.trainings.values() for rank in each.ranks.values() if rank.last_batch_s]
    return min(max(heard, default=event.exit.ended_s), event.exit.ended_s)


def _abandon(training: TrainingState, incident: Incident) -> None:
    """The next generation begins at the incident's target: the epochs and checkpoints after it are given up."""
    target = target_of(training, incident)
    if target is None:
        return
    for checkpoint in training.checkpoints:
        if checkpoint.ordinal == target.ordinal and checkpoint.holds > target.holds:
            checkpoint.abandoned = True
    over = (EpochStatus.DISCARDED, EpochStatus.REDONE)
    lost = [r for r in training.epochs if r.epoch > target.epoch and r.status not in over]
    for row in lost:
        row.status = EpochStatus.DISCARDED
    training.discarded = sum(r.batches for r in lost) - _held(training, target, lost)
    training.totals.batches_discarded += training.discarded


def _held(training: TrainingState, target: CheckpointState, lost: list[EpochRow]) -> int:
    """Batches of those passes that a snapshot holds: of the pass in which it was saved, as many as it has until then.

    Where the process was killed, the records of its last batches may be missing: then it is the whole pass.
    """
    before, mine = 0, [row for row in training.epochs if row.generation == target.generation]
    for row in mine:
        if before + row.batches >= target.count or row is mine[-1]:
            return min(target.count - before, row.batches) if row in lost else 0
        before += row.batches
    return 0


def _give_up(training: TrainingState, target: CheckpointState | None) -> None:
    """The state of the target is put back, and the loop goes on counting: what was learned since is given up."""
    if target is None:
        return
    for checkpoint in training.checkpoints:
        if (checkpoint.generation, checkpoint.count) > (target.generation, target.count):
            checkpoint.abandoned = True
    training.discarded = batches_since(training, target)
    training.totals.batches_discarded += training.discarded


def _note_given_up(training: TrainingState, target: CheckpointState) -> None:
    """Remember it as counts of this generation. Those of several times lie in one another or apart."""
    leader = training.ranks.get(0)
    after = target.count if target.generation == training.generation else 0
    before = [interval for interval in training.given_up if interval[1] <= after]
    training.given_up = [*before, (after, leader.counts.batches if leader else after)]


def fold_gone_back(training: TrainingState, order: str, now_s: float) -> bool:
    """The training has gone back within its process, as `order` asked. False: no incident asked for that.

    Counts and generation go on; what was learned since is given up, as after a new start.
    """
    incident = training.incident
    plan = incident.action.plan if incident else None
    if incident is None or plan is None or not plan.in_process or plan.order != order or training.gone_back == order:
        return False
    training.gone_back = order
    first_losses.keep_following(training)
    target, here = target_of(training, incident), training.position
    if training.started is not None and training.started.keeps_position:
        _give_up(training, target)
    else:
        _abandon(training, incident)
        here = Position(training.generation, target.epoch, 0, 0) if target else None
    if target is not None and here is not None:
        _note_given_up(training, target)
        end_all(training, here)
    for rank in training.ranks.values():
        rank.unskipped_given_up = rank.unskipped
        rank.learned = snapshot_of(target.learned) if target and target.learned else Learned()
        rank.learned.uncured, rank.trace = 0, Trace()
    first_losses.begin(training, incident, target)
    fold_start(training, now_s)
    return True


def fold_declined(training: TrainingState) -> None:
    """The training had recovered by itself: what was not finite before is no damage any more."""
    for rank in training.ranks.values():
        rank.learned.uncured, rank.unskipped_given_up = 0, rank.unskipped
    leader = training.ranks.get(0)
    training.healed_at = training.generation, leader.counts.batches if leader else 0


def fold_run_ended(run: RunState, event: RunEnded, now_s: float) -> bool:
    """The supervisor starts nothing more. False: that was known."""
    if run.ended:
        return False
    if run.alive:
        _close_generation(run)
    run.alive, run.ended, run.ended_detail, run.ended_s = False, event.how, event.detail, now_s
    return True


def _close_generation(run: RunState) -> None:
    """The generation is over: counts go into the totals, ranks are forgotten, and the row that was running is left."""
    for training in run.trainings.values():
        if training.generation == run.generation:
            _close(training)


def _close(training: TrainingState) -> None:
    training.left_at = training.position
    first_losses.keep_following(training)
    for checkpoint in training.checkpoints:
        checkpoint.healthy_longest = healthy_after(training, checkpoint)
    training.totals.counts = totals_of(training)
    training.taken |= {number: Taken(rank.event_seq, rank.counts) for number, rank in training.ranks.items()}
    training.ranks, training.last_bad = {}, 0
    for row in training.epochs:
        if row.generation == training.generation and row.status == EpochStatus.RUNNING:
            row.status = EpochStatus.LEFT
