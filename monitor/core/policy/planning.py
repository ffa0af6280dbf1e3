"""Writes down what the next try starts from: the plan, in absolute values, and the order that names it. Pure."""

from __future__ import annotations

from monitor.core.model import Incident
from monitor.core.policy.settings import Policy
from monitor.core.policy.strengthen import changes, current, strengthen
from monitor.core.policy.trust import best_for
from monitor.core.state.run import CheckpointState, RunState
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.runfolder import Checkpoint, Plan

ONSET_SAMPLES_MAX = 256  # names in a plan: the first bad batches are what must be met again, not every later one
SEED_STEP = 1009  # seeds of neighbouring generations must not meet those of neighbouring ranks (seed + rank)


def order_for(run: RunState, kind: str, reason: str, rank: int = 0) -> Order:
    """A new order to the present generation's rank 0, which decides for the job, or to another one."""
    run.effect_serial += 1
    id_ = f"{run.spec.run}-g{run.generation}-o{run.effect_serial}"
    return Order(id=id_, run=run.spec.run, generation=run.generation, rank=rank, kind=kind, plan="", reason=reason)


def with_plan(order: Order, name: str) -> Order:
    """The same order, naming the file of its plan."""
    return Order(order.id, order.run, order.generation, order.rank, order.kind, name, order.reason)


def make_plan(
    run: RunState, incident: Incident, policy: Policy, order: Order, target: CheckpointState | None, now_s: float
) -> Plan:
    """The plan of a rollback to `target`, or of an adjustment in place (None).

    Raises ValueError where the run has not told its settings yet.
    """
    training = run.training
    if training is None:
        raise ValueError(f"run {run.spec.run} has not reported its settings yet, so no plan can be made")
    incident.before = incident.before or current(run, training)
    user = next((i.before for i in run.incidents if i.before), incident.before)
    restart = target is not None
    left = training.epochs - (target.epoch if target else 0)
    settings = strengthen(incident.before, user, policy.strengthen, training, restart=restart, epochs_left=left)
    best = best_for(target, run) if target else None
    return Plan(
        id=f"{order.id}-plan",
        run=run.spec.run,
        generation=run.generation + (1 if restart else 0),
        kind="rollback" if restart else "adjust",
        order=order.id,
        incident=incident.id,
        reason=incident.reason,
        ordinal=training.ordinal,
        arguments_digest=training.arguments_digest,
        save_dir=training.save_dir,
        checkpoint=_as_file(target),
        best=_as_file(best),
        start_epoch=target.epoch + 1 if target else (run.position.epoch if run.position else 1),
        settings=settings,
        changes=changes(incident.before, settings),
        seed_offset=SEED_STEP * run.generation,
        onset_samples=tuple(incident.onset_samples[:ONSET_SAMPLES_MAX]),
        grace_s=policy.rollback.grace_s,
        written_s=now_s,
    )


def _as_file(checkpoint: CheckpointState | None) -> Checkpoint | None:
    return Checkpoint(path=checkpoint.path, digest=checkpoint.digest, epoch=checkpoint.epoch) if checkpoint else None
