"""Which exception ended a run's process, as far as its trainings reported one. Pure."""

from __future__ import annotations

from monitor.core.state.run import RunState
from trainer_hooks.wire.words import TrainingEnd


def crash_of(run: RunState) -> str:
    """The exception of the training that ended last in the present generation; empty: none, or it ended otherwise."""
    last = run.training
    crashed = last.over and last.how == TrainingEnd.EXCEPTION and last.generation == run.generation
    return last.detail if crashed else ""


def without_crash(run: RunState, text: str) -> str:
    """How a run ended, without the exception, where another line says it."""
    crash = crash_of(run)
    return text.replace(f": {crash}", "") if crash else text
