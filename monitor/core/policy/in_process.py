"""Whether a training can go back within its process, so that its script does not begin anew. Pure."""

from __future__ import annotations

from monitor.core.model import Family
from monitor.core.policy.action import Trouble
from monitor.core.state.rows import CheckpointState

TRUSTED = (
    Family.NONFINITE, Family.LOSS, Family.GRADIENT, Family.UPDATE, Family.SETTINGS, Family.VALIDATION, Family.OPERATOR,
)  # fmt: skip


def goes_back_in_process(trouble: Trouble, target: CheckpointState) -> bool:
    """True: the integration can, the process is to be trusted, and it has not refused before.

    After a hang, a crash or an error of the device a new process is the only sound start.
    """
    run, training = trouble.run, trouble.training
    started = training.started
    return (
        trouble.policy.rollback.in_process
        and target.is_snapshot
        and started is not None
        and started.goes_back
        and run.alive
        and not training.over
        and trouble.incident.family in TRUSTED
        and training.ledger.no_going_back_in != training.generation
    )
