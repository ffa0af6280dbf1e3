"""Folds the events of the hooks into the state, in the order in which each rank sent them. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.state.batches import fold_setting
from monitor.core.state.epochs import fold_epoch_end
from monitor.core.state.generations import fold_declined, fold_gone_back, fold_training_started
from monitor.core.state.hardware import settle_host
from monitor.core.state.intervals import fold_phase
from monitor.core.state.run import RankState, RunState, TrainingState
from trainer_hooks.wire.messages import (
    EpochEnded,
    Event,
    HookTrouble,
    NonfiniteSeen,
    OrderApplied,
    PhaseChanged,
    PlanApplied,
    SettingChanged,
    TrainingEnded,
    TrainingStarted,
)
from trainer_hooks.wire.words import NOT_NEEDED, OrderOutcome

LOG_MAX = 2000  # settings changes and non-finite batches remembered per training; counters hold the rest


def fold_event(run: RunState, training: TrainingState, rank: RankState, event: Event, now_s: float) -> None:
    """Take one event in. The checkpoint that it may be about is folded by monitor.core.state.checkpoints."""
    match event:
        case TrainingStarted() if rank.rank == 0:
            fold_training_started(run, training, event, now_s)
        case TrainingEnded() if rank.rank == 0:
            training.over, training.how, training.detail = True, event.how, event.detail
            training.final_metrics = event.metrics or training.final_metrics
        case NonfiniteSeen():
            training.nonfinite_log.append((training.generation, event))
            del training.nonfinite_log[:-LOG_MAX]
        case SettingChanged():
            fold_setting(training, event)
            training.settings_log.append((training.generation, _placed(rank, event)))
            del training.settings_log[:-LOG_MAX]
        case PhaseChanged() if rank.rank == 0:  # the others wait where it validates and saves
            fold_phase(training, event, now_s)
            training.phase = event.phase
        case EpochEnded() if rank.rank == 0:
            if fold_epoch_end(training, event, now_s):
                settle_host(run.hardware)
        case PlanApplied():
            training.applied.append((training.generation, event))
            del training.applied[:-LOG_MAX]
        case OrderApplied() if event.outcome == OrderOutcome.APPLIED:
            fold_gone_back(training, event.order_id, now_s)
        case OrderApplied() if event.outcome in NOT_NEEDED:
            fold_declined(training)
        case HookTrouble() if event.lost:
            training.unwatched[event.hook] = event.lost
        case _:
            pass  # the policy alone reacts to it


def _placed(rank: RankState, event: SettingChanged) -> SettingChanged:
    """A boundary is declared by the user's code, which need not know where it is."""
    if event.epoch or rank.last is None:
        return event
    at = rank.last.position
    return msgspec.structs.replace(event, epoch=at.epoch, batch=at.batch)
