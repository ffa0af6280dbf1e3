"""The ring of batches and the log of memory's rises: bounded, and gone with the generation."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.model import Position
from monitor.core.state.trace import (
    BATCHES,
    FAR_BATCHES,
    FAR_STRIDE,
    HELD_BATCHES,
    RISES,
    STREAK_GAP_BATCHES,
    TRACED_RANKS,
    Shape,
    Trace,
    take_trace,
)
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import BatchEnded, Counts

MIB = 1 << 20
BYTES_MAX = 200_000  # of a snapshot, for one rank


def take(trace: Trace, count: int, reserved: int | None = None, most: int | None = None, *, bad: bool = False) -> None:
    batch = BatchEnded(
        1.7e9, 1.0e5, 1, count - 1, 100_000, Counts(batches=count, steps=count), loss=2.0, parts=(1.0, 0.5, 0.5),
        grad_norm=3.0, learning_rates=(0.01, 0.01, 0.1), momentum=0.9, weight_decay=0.0005, clip_norm=10.0,
        loss_scale=65536.0, batch_size=16, image_size=640, instances=100, instances_max=most,
        memory_reserved=reserved, memory_allocated=reserved, batch_s=0.4, data_wait_s=0.01,
        nonfinite=int(bad),
    )  # fmt: skip
    take_trace(trace, batch, Position(1, 1, count - 1, count), "train")


def test_a_trace_stays_small_however_long_a_generation_is() -> None:
    trace = Trace()
    for count in range(1, 20_001):
        take(trace, count, 4000 * MIB + count * MIB, count, bad=count % 700 == 0)
    assert len(trace.recent) == BATCHES
    assert trace.recent[-1].counts.batches == 20_000
    assert [b.counts.batches for b in trace.far][-1] == 20_000 // FAR_STRIDE * FAR_STRIDE
    assert len(trace.far) == FAR_BATCHES
    assert len(trace.rises) <= RISES
    assert len(msgspec.msgpack.encode(trace)) < BYTES_MAX


def test_a_rise_of_memory_keeps_the_batch_that_asked_for_it_for_ever() -> None:
    trace = Trace()
    for count in range(1, 400):
        take(trace, count, 4300 * MIB, 50 + count % 40)
    take(trace, 400, 4820 * MIB, 731)
    for count in range(401, 8000):
        take(trace, count, 4820 * MIB, 60)
    (rise,) = trace.rises
    assert (rise.at.count, rise.before, rise.after) == (400, 4300 * MIB, 4820 * MIB)
    assert (rise.shape_before.instances_max, rise.shape.instances_max) == (89, 731)


def test_memory_that_is_read_a_batch_late_still_finds_its_batch() -> None:
    trace = Trace()
    for count, most in ((1, 60), (2, 70), (3, 731)):
        take(trace, count, 4300 * MIB, most)
    take(trace, 4, 4820 * MIB, 65)
    assert trace.rises[0].shape == Shape(731, 640)
    assert trace.rises[0].shape_before == Shape(70, 640)


def test_the_smallest_rises_give_way_to_larger_ones() -> None:
    trace, reserved = Trace(), 1000 * MIB
    take(trace, 1, reserved)
    for count in range(2, 200):
        reserved += 400 * MIB if count == 50 else 8 * MIB + reserved // 100
        take(trace, count, reserved)
    assert len(trace.rises) == RISES
    assert any(rise.at.count == 50 for rise in trace.rises)


def test_the_batches_before_a_first_bad_one_are_held_while_it_goes_on() -> None:
    """A rate of one in 300 is found a thousand batches after its onset, when the last batches say nothing of it."""
    trace = Trace()
    for count in range(1, 2001):
        take(trace, count, bad=count >= 700 and count % 300 == 100)
    assert [b.counts.batches for b in trace.bad] == [700, 1000, 1300, 1600, 1900]
    assert [b.counts.batches for b in trace.held] == list(range(700 - HELD_BATCHES, 700))
    for count in range(2001, 4000):
        take(trace, count, bad=count == 3500)
    assert trace.held[-1].counts.batches == 3499


def test_only_the_first_ranks_are_traced_and_a_new_generation_begins_an_empty_one() -> None:
    training = Simulation()
    for rank in range(TRACED_RANKS + 1):
        training.batch(2.0, 3.0, rank=rank)
    assert [len(r.trace.recent) for r in training.run.training.ranks.values()] == [1] * TRACED_RANKS + [0]
    training.restart()
    assert training.run.training.ranks[0].trace == Trace()


@pytest.mark.parametrize(("gap", "of_one_streak"), [(STREAK_GAP_BATCHES, True), (STREAK_GAP_BATCHES + 1, False)])
def test_bad_batches_that_are_far_apart_are_streaks_of_their_own(gap: int, of_one_streak: bool) -> None:
    assert STREAK_GAP_BATCHES == 1000, "a rate is found up to a thousand batches after its onset"
    trace = Trace()
    for count in range(1, 12 + gap):
        take(trace, count, bad=count in (10, 10 + gap))
    assert [batch.counts.batches for batch in trace.bad] == ([10, 10 + gap] if of_one_streak else [10 + gap])
    assert trace.held[-1].counts.batches == (9 if of_one_streak else 9 + gap)
