"""Rows of epochs: which batches belong to which pass through which epoch."""

from __future__ import annotations

import msgspec

from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import EpochEnded


def test_batches_that_come_after_the_end_of_their_epoch_belong_to_it() -> None:
    """A daemon that was away reads the events from disk first, and gets the batches over the socket after them."""
    training = Simulation(batches_per_epoch=20)
    for _ in range(12):
        training.batch(2.0)
    training.send(EpochEnded(training.now_s, 1, 20.0, (), {}, None))
    for _ in range(10):
        training.batch(2.0)
    assert [(row.epoch, row.batches) for row in training.run.training.epochs] == [(1, 20), (2, 2)]


def test_an_epoch_that_begins_anew_has_another_row() -> None:
    training = Simulation(batches_per_epoch=20)
    for _ in range(12):
        training.batch(2.0)
    training.send(EpochEnded(training.now_s, 1, 12.0, (), {}, None, redone=True))
    again = training.run.training.ranks[0].last
    assert again is not None
    counts = msgspec.structs.replace(again.batch.counts, batches=13)
    training.send(msgspec.structs.replace(again.batch, batch=0, counts=counts))
    assert [(row.epoch, row.batches) for row in training.run.training.epochs] == [(1, 12), (1, 1)]
