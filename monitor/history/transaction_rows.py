"""What one transaction of the history carries. Values only."""

from __future__ import annotations

import msgspec

from alerts.outbox import OutboxRow
from monitor.core.model import Effect, Entry, RecordArrived, SendOrder
from monitor.core.model.channel import TimelineLine
from monitor.history.schema import GROUPS_MAX, PARTS_MAX
from trainer_hooks.wire.messages import BatchEnded


class Sample(msgspec.Struct, frozen=True):
    """One batch of one rank, as charts show it. None: not known on this batch."""

    run: str
    generation: int
    rank: int
    count: int  # batches since the generation began, from 1
    epoch: int
    batch: int
    at_s: float
    loss: float | None
    grad_norm: float | None
    nonfinite: int
    learning_rate: float | None  # of the first parameter group
    reserved: int | None
    batch_s: float | None
    data_wait_s: float | None
    allocated: int | None = None
    parts: tuple[float, ...] = ()  # components of the loss, PARTS_MAX at most
    more_rates: tuple[float, ...] = ()  # of the other parameter groups, in order, GROUPS_MAX with the first


class OutboxChange(msgspec.Struct, frozen=True):
    """A try of a delivery failed, or the row is done with."""

    row: int
    attempts: int | None = None
    next_s: float | None = None  # with an outcome: when it was settled
    error: str = ""
    outcome: str = ""  # empty: still waiting


class Snapshot(msgspec.Struct, frozen=True):
    """The whole state of the core after entry `seq`."""

    seq: int
    fleet: bytes


class Commit(msgspec.Struct):
    """Everything that becomes durable together, or not at all."""

    entries: list[Entry] = []
    effects: list[Effect] = []  # to carry out after the commit; kept until `done` names them
    alerts: list[OutboxRow] = []
    timeline: list[TimelineLine] = []
    done: list[str] = []  # ids of effects carried out
    outbox: list[OutboxChange] = []
    snapshot: Snapshot | None = None

    @property
    def durable(self) -> bool:
        """True where a power cut must not take it back: it holds an alert, or an effect to carry out."""
        return bool(self.alerts or self.effects)

    @property
    def empty(self) -> bool:
        """True where there is nothing to write."""
        return not (
            self.entries or self.effects or self.alerts or self.timeline or self.done or self.outbox or self.snapshot
        )


def curve_key(run: str, training: int) -> str:
    """What the charts' tables call a training: the run's id and, from the second training on, its number.

    No run id holds a "#" (runfolder.RUN_ID), so that rows from before there were trainings are those of the first.
    """
    return run if training == 1 else f"{run}#{training}"


def sample_of(entry: Entry) -> Sample | None:
    """The chart's row of an entry that is a batch; None for every other."""
    arrived = entry.input
    if not isinstance(arrived, RecordArrived) or not isinstance(arrived.record, BatchEnded):
        return None
    batch = arrived.record
    return Sample(
        run=curve_key(arrived.run, arrived.training),
        generation=arrived.generation,
        rank=arrived.rank,
        count=batch.counts.batches,
        epoch=batch.epoch,
        batch=batch.batch,
        at_s=entry.now_s,
        loss=batch.loss,
        grad_norm=batch.grad_norm,
        nonfinite=batch.nonfinite,
        learning_rate=batch.learning_rates[0] if batch.learning_rates else None,
        reserved=batch.memory_reserved,
        batch_s=batch.batch_s,
        data_wait_s=batch.data_wait_s,
        allocated=batch.memory_allocated,
        parts=batch.parts[:PARTS_MAX],
        more_rates=batch.learning_rates[1:GROUPS_MAX],
    )


def run_of(effect: Effect) -> str:
    """The run an effect is for."""
    return effect.order.run if isinstance(effect, SendOrder) else effect.run
