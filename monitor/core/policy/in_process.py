"""Whether a training can go back within its process, so that its script does not begin anew. Pure."""

from __future__ import annotations

from monitor.core.model import Family
from monitor.core.policy.action import Trouble
from monitor.core.policy.settings import Rollback
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState

TRUSTED = (
    Family.NONFINITE, Family.LOSS, Family.GRADIENT, Family.UPDATE, Family.SETTINGS, Family.VALIDATION, Family.OPERATOR,
    Family.CHECKPOINT,
)  # fmt: skip


def goes_back_in_process(trouble: Trouble, target: CheckpointState) -> bool:
    """True: the integration can, the process is to be trusted, and it has not refused before.

    After a hang, a crash or an error of the device a new process is the only sound start.
    """
    run, training = trouble.run, trouble.training
    return target.is_snapshot and run.alive and _can(training, trouble.policy.rollback, trouble.incident.family)


def puts_state_back(training: TrainingState, rules: Rollback, family: str) -> bool:
    """True: the state alone goes back, within the process, and the loop goes on where it is.

    Nobody knows how such a loop would begin from a snapshot.
    """
    started = training.started
    return started is not None and started.keeps_position and _can(training, rules, family)


def _can(training: TrainingState, rules: Rollback, family: str) -> bool:
    started = training.started
    return (
        rules.in_process
        and started is not None
        and started.goes_back
        and not training.over
        and training.died_at is None
        and family in TRUSTED
        and training.ledger.no_going_back_in != training.generation
    )
