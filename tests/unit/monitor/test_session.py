"""Which frames are taken, and which of their records."""

from __future__ import annotations

import random

import msgspec
import pytest

from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState
from monitor.daemon.ingest.session import EventOrder, Standing, standing, stream_of
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import PROTOCOL, Counts, EventSent, Frame, Order, PhaseChanged, Record, Sender
from trainer_hooks.wire.run_documents import RunSpec

SENDER = Sender("night", 2, 0, "n2")


def _run() -> RunState:
    spec = RunSpec(run="night", argv=(), cwd="/", created_s=0.0, act=True)
    return RunState(spec, Policy().model_dump_json(), 0.0, generation=2, nonce="n2")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Standing.CURRENT),
        ({"rank": 7}, Standing.CURRENT),
        ({"generation": 1}, Standing.OLDER),
        ({"generation": 3}, Standing.NEWER),
        ({"nonce": "other"}, Standing.STRANGER),
    ],
)
def test_a_sender_stands_by_its_generation_and_its_nonce(changed: dict[str, object], expected: Standing) -> None:
    assert standing(msgspec.structs.replace(SENDER, **changed), _run()) is expected


def test_a_sender_of_no_known_run_is_unknown() -> None:
    assert standing(SENDER, None) is Standing.UNKNOWN_RUN


def _frame(*records: Record) -> Frame:
    return Frame(PROTOCOL, SENDER, 0, records)


def _event(seq: int) -> EventSent:
    return EventSent(seq, PhaseChanged(0.0, 1, f"phase {seq}"))


def test_a_frame_of_batches_alone_asks_for_no_acknowledgement() -> None:
    selected = EventOrder().select(_frame(batch(Counts(batches=1)), batch(Counts(batches=2))), taken=0)
    assert (len(selected.records), selected.seen) == (2, None)


def test_a_repeated_event_is_left_out_and_acknowledged_again() -> None:
    selected = EventOrder().select(_frame(_event(1), _event(2), _event(3)), taken=2)
    assert (selected.records, selected.seen) == ((_event(3),), 3)


def test_an_event_that_comes_too_early_waits_for_the_ones_before_it() -> None:
    order = EventOrder()
    assert order.select(_frame(_event(5)), taken=3).records == ()
    assert order.select(_frame(_event(4), _event(5)), taken=3).records == (_event(4), _event(5))


def test_an_event_that_leads_twice_is_taken_since_the_hook_has_nothing_before_it() -> None:
    order = EventOrder()
    assert order.select(_frame(_event(5), _event(6)), taken=3).seen == 3
    again = order.select(_frame(_event(5), _event(6)), taken=3)
    assert (again.records, again.seen) == ((_event(5), _event(6)), 6)


def test_batches_are_taken_whatever_becomes_of_the_events_between_them() -> None:
    selected = EventOrder().select(_frame(batch(Counts(batches=1)), _event(9), batch(Counts(batches=2))), taken=0)
    assert [type(r).__name__ for r in selected.records] == ["BatchEnded", "BatchEnded"]


@pytest.mark.parametrize("seed", range(40))
def test_every_event_arrives_once_and_in_order_over_a_link_that_loses_frames(seed: int) -> None:
    """The hook's promise: whatever is not acknowledged is sent again, oldest first."""
    chance = random.Random(seed)
    order, taken, folded = EventOrder(), 0, []
    unseen = [_event(seq) for seq in range(1, 31)]
    fresh = iter(unseen[:])
    for _ in range(2000):
        if not unseen:
            break
        event = next(fresh, None)
        frame = _frame(event) if event and chance.random() < 0.7 else _frame(*unseen)
        if chance.random() < 0.4:
            continue  # lost
        selected = order.select(frame, taken)
        folded += [record.seq for record in selected.records if isinstance(record, EventSent)]
        taken = folded[-1] if folded else 0
        if chance.random() < 0.6:  # else the acknowledgement is lost
            unseen = [e for e in unseen if e.seq > taken]
    assert folded == list(range(1, 31)), f"seed {seed}"


def test_each_training_numbers_its_events_on_its_own() -> None:
    """An event that came too early in one is not what the other waits for."""
    order = EventOrder()
    second = msgspec.structs.replace(SENDER, training=2)
    early = Frame(PROTOCOL, SENDER, 0, (_event(3),))
    assert order.select(early, taken=0).records == ()
    assert order.select(msgspec.structs.replace(early, sender=second), taken=0).records == ()
    assert order.select(early, taken=0).records == (_event(3),), "the same leads again: what came before it is lost"


def test_an_order_goes_to_the_stream_of_the_training_that_it_names() -> None:
    sent = Order("o1", SENDER.run, SENDER.generation, SENDER.rank, "stop", "", "", training=2)
    assert stream_of(sent) == stream_of(msgspec.structs.replace(SENDER, training=2)) != stream_of(SENDER)
