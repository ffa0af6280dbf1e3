"""Makes the plan of the next action, in absolute values, and the order that names it. Pure."""

from __future__ import annotations

import msgspec

from monitor.core.model import ActionKind, Family, Incident
from monitor.core.policy.action import Action, StartWith
from monitor.core.policy.strengthen import changes, current, strengthen
from monitor.core.policy.transaction import Transaction
from monitor.core.policy.trust import below, best_for
from monitor.core.state.rows import CheckpointState
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Checkpoint, Plan
from trainer_hooks.wire.words import OrderKind, PlanKind

ONSET_SAMPLES_MAX = 256  # names in a plan: the first bad batches are what must be met again, not every later one
SEED_STEP = 1009  # seeds of neighbouring generations must not meet those of neighbouring ranks (seed + rank)


def order_for(tx: Transaction, kind: OrderKind, reason: str, rank: int = 0) -> Order:
    """A new order to the present generation's rank 0, which decides for the job, or to another one."""
    run = tx.run
    run.ledger.effects += 1
    return Order(
        id=f"{run.spec.run}-g{tx.training.generation}-o{run.ledger.effects}",
        run=run.spec.run,
        generation=tx.training.generation,
        rank=rank,
        kind=kind,
        plan="",
        reason=reason,
        training=tx.training.number,
    )


def with_plan(order: Order, name: str) -> Order:
    """The same order, naming the file of its plan."""
    return msgspec.structs.replace(order, plan=name)


def make_plan(tx: Transaction, incident: Incident, order: Order, action: Action, *, in_process: bool = False) -> Plan:
    """The plan of a rollback, or of an adjustment in place.

    Raises ValueError where the run has not reported its settings yet.
    """
    training, target = tx.training, action.checkpoint
    started = training.last_start
    if started is None:
        raise ValueError(f"run {tx.run.spec.run} has not reported its settings yet, so no plan can be made")
    before = incident.at_open.settings = incident.at_open.settings or current(training, started)
    user = next((i.at_open.settings for i in training.ledger.incidents if i.at_open.settings), before)
    restart = target is not None
    settings = {StartWith.AS_BEFORE: before, StartWith.YOUR_OWN: user}.get(action.start_with)
    alone = in_process and started.keeps_position
    if settings is None:
        left = started.epochs - (target.epoch if target else 0)
        begins = restart and not alone
        settings = strengthen(before, user, tx.policy.strengthen, started, restart=begins, epochs_left=left)
        if started.keeps_position and not _clips(training):
            settings = msgspec.structs.replace(settings, clip_norm=before.clip_norm)
    own = training.ledger.in_force is None or training.ledger.own_in_force
    as_before = restart and action.start_with is not StartWith.STRENGTHENED and own
    replay = not Family(incident.family).in_numbers and action.start_with is not StartWith.STRENGTHENED
    own = started.keeps_position and target is not None and target.is_snapshot  # nothing of the script is below it
    best = best_for(target, training) if target and not own else None
    base = None if own else below(target, training) if target and target.is_snapshot else target
    return Plan(
        id=f"{order.id}-plan",
        run=tx.run.spec.run,
        generation=tx.run.generation + 1 if restart and not in_process else training.generation,
        kind=PlanKind.ROLLBACK if restart else PlanKind.ADJUST,
        order=order.id,
        incident=incident.id,
        reason=incident.action.reason,
        ordinal=started.ordinal,
        arguments_digest=started.arguments_digest,
        save_dir=started.save_dir,
        framework=started.framework,
        training=training.number,
        checkpoint=_as_file(base),
        snapshot=_as_file(target) if target and target.is_snapshot else None,
        in_process=in_process,
        replay=replay,
        own_settings=as_before,
        for_nonfinite=action.for_nonfinite,
        best=_as_file(best),
        start_epoch=target.epoch + 1 if target else (training.position.epoch if training.position else 1),
        settings=settings,
        changes=changes(current(training, started) if action.kind is ActionKind.UNDO else before, settings, started),
        seed_offset=SEED_STEP * tx.run.generation,
        onset_samples=tuple(incident.at_open.samples[:ONSET_SAMPLES_MAX]),
        grace_s=tx.policy.rollback.grace_s,
        written_s=tx.now_s,
    )


def _clips(training: TrainingState) -> bool:
    """True where the loop has said to what it clips: else there is nothing to lower."""
    last = training.ranks[0].last if 0 in training.ranks else None
    return last is not None and last.batch.clip_norm is not None


def _as_file(checkpoint: CheckpointState | None) -> Checkpoint | None:
    if checkpoint is None:
        return None
    holds = checkpoint.holds
    return Checkpoint(path=checkpoint.path, digest=checkpoint.digest, epoch=holds[0], extra_batches=holds[1])
