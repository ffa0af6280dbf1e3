"""The one word for where a run stands. Pure."""

from __future__ import annotations

from monitor.core.model import IncidentState
from monitor.core.state.run import RunState, TrainingState
from trainer_hooks.wire.run_documents import RunOutcome
from trainer_hooks.wire.words import Phase

STARTING, TRAINING, GONE, WAITING = "starting", "training", "gone", "waiting"
GIVEN_UP = "given up"  # trainwarden stopped it and knows no way to go on: a person must decide


def status_of(run: RunState) -> str:
    """How it ended (RunOutcome, or GIVEN_UP), or STARTING, TRAINING, the phase between two epochs (Phase), or GONE."""
    if run.ended == RunOutcome.STOPPED and _was_given_up(run):
        return GIVEN_UP
    if run.ended:
        return run.ended
    if not run.alive:
        return GONE if run.generation else STARTING
    return _phase_of(run.going_on)


def _was_given_up(run: RunState) -> bool:
    last = [training.ledger.incidents[-1] for training in run.trainings.values() if training.ledger.incidents]
    return any(incident.state is IncidentState.GIVEN_UP for incident in last)


def training_status_of(run: RunState, training: TrainingState) -> str:
    """How it ended (TrainingEnd), or where it stands, in the words of `status_of`; WAITING: another one goes on."""
    if training.over:
        return training.how
    if run.ended or not run.alive:
        return status_of(run)
    return _phase_of(training) if training.generation == run.generation else WAITING


def _phase_of(training: TrainingState) -> str:
    if training.started is None:
        return STARTING
    return training.phase if training.phase not in {"", Phase.IDLE, Phase.TRAIN} else TRAINING
