"""The one word for where a run stands. Pure."""

from __future__ import annotations

from monitor.core.state.run import RunState
from trainer_hooks.wire.words import Phase

STARTING, TRAINING, GONE = "starting", "training", "gone"


def status_of(run: RunState) -> str:
    """How it ended (RunOutcome), or STARTING, TRAINING, the phase between two epochs (Phase), or GONE."""
    if run.ended:
        return run.ended
    if not run.alive:
        return GONE if run.generation else STARTING
    training = run.training
    if training.started is None:
        return STARTING
    return training.phase if training.phase not in {"", Phase.IDLE, Phase.TRAIN} else TRAINING
