"""The first pass: one input becomes facts. Pure; nothing else in the core writes them.

`fold` returns what is new about the input, so that detectors and policy need not find out again.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import (
    AlertSettled,
    CheckpointExamined,
    CommandGiven,
    FramesRefused,
    GenerationDied,
    GenerationExited,
    GenerationStarted,
    HardwareSeen,
    IncidentAcknowledged,
    Input,
    PlanWritten,
    ReceiptFound,
    RecordArrived,
    RunEnded,
    RunOpened,
    StacksTaken,
    SupervisorChanged,
    Tick,
    TrainingVanished,
)
from monitor.core.state import clock_steps
from monitor.core.state.batches import fold_batch
from monitor.core.state.checkpoints import fold_bad, fold_examined, fold_saved
from monitor.core.state.events import fold_event
from monitor.core.state.generations import (
    enter_generation,
    fold_death,
    fold_declined,
    fold_exit,
    fold_generation_started,
    fold_gone_back,
    fold_run_ended,
    names_parts,
)
from monitor.core.state.hardware import fold_hardware
from monitor.core.state.intervals import stands_still_since_s
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import Fleet, RankState, RunState, Taken, TrainingState
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Event, TrainingStarted
from trainer_hooks.wire.words import NOT_NEEDED, OrderOutcome, Phase, TrainingEnd

RETENTION_S = 24 * 3600.0  # a run's state, and with it its series, leave this long after its end
RANKS_MAX = 4096  # of one training
TRAININGS_MAX = 4096  # of one run: a search over settings with a training each


class Folded(msgspec.Struct, frozen=True, gc=False):  # nothing refers back to it
    """What one input changed. The defaults stand for an input of another kind, or for nothing new."""

    run: RunState
    training: TrainingState
    news: bool = False  # a generation, its exit or the end of the run that was not known before
    supervisor_changed: bool = False
    rank: RankState | None = None  # of a record that was taken in
    batch: BatchEnded | None = None
    new_batches: int = 0  # with this record: lost records before it included
    bad_batches: int = 0  # of them not finite
    downtime_s: float = 0.0  # that ended with it: nothing trained since a generation exited, or since it stood still
    event: Event | None = None
    checkpoint: CheckpointState | None = None  # that was saved or examined


def open_run(fleet: Fleet, event: RunOpened) -> None:
    """Make a run known; opening it again changes nothing."""
    if event.spec.run not in fleet.runs:
        opened = RunState(spec=event.spec, policy=event.policy, opened_s=fleet.now_s)
        fleet.runs[event.spec.run] = _restored(event, fleet.now_s) or opened


def _restored(event: RunOpened, now_s: float) -> RunState | None:
    """The run as it was when it ended; None: it is a new one."""
    if not event.kept:
        return None
    run = msgspec.msgpack.decode(event.kept, type=RunState)
    run.policy, run.restored_s = event.policy, now_s
    return run


def forget_ended(fleet: Fleet) -> None:
    """Runs leave RETENTION_S after their end."""
    for name, run in list(fleet.runs.items()):
        if run.ended_s is not None and fleet.now_s - max(run.ended_s, run.restored_s) > RETENTION_S:
            del fleet.runs[name]


def fold(run: RunState, given: Input, now_s: float) -> Folded:  # noqa: C901, PLR0911, PLR0912 - one case an input
    """Take one input about `run` in."""
    if isinstance(given, RecordArrived):
        return _record(run, given, now_s)
    training = run.training
    match given:
        case Tick(asleep_s):
            if asleep_s:
                clock_steps.asleep(run, asleep_s, now_s)
            for each in run.trainings.values():
                if run.trains(each):
                    each.silence.idle_ticks += 1
                    for rank in each.ranks.values():
                        rank.idle_ticks += 1
            return Folded(run, training)
        case HardwareSeen():
            fold_hardware(run.hardware, given, run.generation, now_s)
            return Folded(run, run.going_on)
        case CheckpointExamined():
            of = run.trainings.get(given.manifest.training)
            if of is None:  # nothing was heard of it: a copy is never another training's
                return Folded(run, training)
            return Folded(run, of, checkpoint=fold_examined(of, given, now_s))
        case GenerationStarted():
            changed = given.number == run.generation and given.supervisor_pid not in (0, run.supervisor_pid)
            return Folded(run, training, news=fold_generation_started(run, given, now_s), supervisor_changed=changed)
        case GenerationExited():
            return Folded(run, training, news=fold_exit(run, given))
        case GenerationDied():
            return Folded(run, training, news=fold_death(run, given, now_s))
        case TrainingVanished():
            return _vanished(run, given)
        case RunEnded():
            return Folded(run, training, news=fold_run_ended(run, given, now_s))
        case SupervisorChanged():
            changed = run.supervisor_pid != given.supervisor_pid
            run.supervisor_pid = given.supervisor_pid
            return Folded(run, training, supervisor_changed=changed)
        case FramesRefused():
            run.frames_refused += given.count
        case AlertSettled():
            key = f"{given.receiver}/{given.outcome}"
            run.alerts[key] = run.alerts.get(key, 0) + 1
        case ReceiptFound() if given.receipt.outcome == OrderOutcome.APPLIED:
            for each in run.trainings.values():
                fold_gone_back(each, given.receipt.order, now_s)
        case ReceiptFound() if given.receipt.outcome in NOT_NEEDED:
            if (of := run.trainings.get(given.receipt.training)) is not None:
                fold_declined(of)
        case RunOpened() | PlanWritten() | ReceiptFound() | CommandGiven() | IncidentAcknowledged() | StacksTaken():
            pass  # no facts: only the policy reacts
    return Folded(run, training)


def _vanished(run: RunState, given: TrainingVanished) -> Folded:
    training = run.trainings.get(given.training)
    leaving = any(each.ledger.leaving for each in run.trainings.values())  # the whole generation is being ended
    if training is None or given.generation != run.generation or leaving or not run.trains(training):
        return Folded(run, run.training)
    training.over, training.how, training.phase = True, TrainingEnd.VANISHED, Phase.IDLE
    return Folded(run, training, news=True)


def _record(run: RunState, given: RecordArrived, now_s: float) -> Folded:
    training = run.trainings.get(given.training)
    if given.generation != run.generation or (training is None and len(run.trainings) >= TRAININGS_MAX):
        run.frames_refused += 1
        return Folded(run, run.training)
    if training is None:
        training = run.trainings[given.training] = TrainingState(given.training, generation=run.generation)
    if training.generation != run.generation:
        enter_generation(training, run.generation, now_s)
    rank = training.ranks.get(given.rank)
    if rank is None:
        if len(training.ranks) >= RANKS_MAX:
            run.frames_refused += 1
            return Folded(run, training)
        taken = training.taken.get(given.rank, Taken())
        rank = training.ranks[given.rank] = RankState(given.rank, taken.counts, taken.event_seq)
    training.silence.idle_ticks = rank.idle_ticks = 0
    if training.over and training.how == TrainingEnd.VANISHED and isinstance(given.record, BatchEnded):
        training.over, training.how = False, ""  # its process lives, where the daemon can't see it
    if isinstance(given.record, BatchEnded):
        return _batch(run, training, rank, given.record, now_s)
    if given.record.seq <= rank.event_seq:
        return Folded(run, training)
    rank.event_seq, event = given.record.seq, given.record.body
    if isinstance(event, TrainingStarted) and rank.rank == 0 and names_parts(training, event):
        return Folded(run, training)
    fold_event(run, training, rank, event, now_s)
    saved = fold_saved(training, rank, event) if isinstance(event, CheckpointSaved) else None
    return Folded(run, training, rank=rank, event=event, checkpoint=saved)


def _batch(run: RunState, training: TrainingState, rank: RankState, batch: BatchEnded, now_s: float) -> Folded:
    before = rank.counts.batches
    first = before == 0 and rank.rank == 0
    stood_since_s = stands_still_since_s(training) if rank.rank == 0 else None
    bad = fold_batch(training, rank, batch, now_s)
    new = rank.counts.batches - before
    if new <= 0:
        return Folded(run, training)
    if rank.rank == 0:
        training.totals.batches_unseen += new - 1
    if bad and rank.rank == 0:
        fold_bad(training, before, batch.counts.batches)
    down_s = _resume(run, now_s) if first else 0.0
    if stood_since_s is not None:
        down_s = now_s - stood_since_s
        run.downtime_s += down_s
    return Folded(run, training, False, False, rank, batch, new, bad, down_s)


def _resume(run: RunState, now_s: float) -> float:
    """The first batch of a generation: seconds since the exit of the one before; 0 where there was none."""
    if run.exited_s is None:
        return 0.0
    down_s = max(now_s - run.exited_s, 0.0)
    run.downtime_s += down_s
    run.exited_s = None
    return down_s
