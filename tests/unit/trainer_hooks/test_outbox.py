from __future__ import annotations

import threading

from tests.harness.records import batch, phase
from trainer_hooks.outbox import EVENTS_MAX, EVENTS_REPEATED_MAX, EVENTS_RESERVED, Outbox, Packer
from trainer_hooks.wire.codec import FRAME_BYTES_MAX, FRAME_RECORDS, decode_frame
from trainer_hooks.wire.messages import BatchEnded, EventSent, NonfiniteSeen, Record, Sender, TrainingEnded

SENDER = Sender("night", 1, 0, "nonce")


def seqs(records: list[Record]) -> list[int]:
    return [record.seq for record in records if isinstance(record, EventSent)]


def test_a_full_ring_drops_the_oldest_and_counts_each() -> None:
    outbox = Outbox(records_max=10)
    for index in range(25):
        outbox.batch(batch(index))
    assert outbox.dropped == 15
    assert [record.batch for record in outbox.take() if isinstance(record, BatchEnded)] == list(range(15, 25))
    assert outbox.dropped == 15
    assert outbox.empty


def test_drops_are_counted_exactly_while_another_thread_takes() -> None:
    """Taken, waiting and dropped add up to offered, whatever the threads did to each other."""
    outbox, taken, offered = Outbox(records_max=50), [0], 30_000
    done = threading.Event()

    def take() -> None:
        while not done.is_set() or not outbox.empty:
            taken[0] += len(outbox.take())

    taker = threading.Thread(target=take)
    taker.start()
    counts = []
    for index in range(offered):
        outbox.batch(batch(index))
        counts.append(outbox.dropped)
    done.set()
    taker.join()
    assert outbox.dropped > 0, "the fault did not fire: nothing was dropped"
    assert taken[0] + outbox.dropped == offered
    assert counts == sorted(counts)


def test_an_event_keeps_its_place_among_the_records() -> None:
    outbox = Outbox()
    outbox.event(phase("train"))
    outbox.batch(batch(0))
    outbox.event(phase("validate"))
    kinds = [type(record).__name__ for record in outbox.take()]
    assert kinds == ["EventSent", "BatchEnded", "EventSent"]


def test_a_new_event_brings_along_those_that_nobody_acknowledged() -> None:
    """Otherwise one lost frame would leave a gap, and whoever counts on order would lose the events in it."""
    outbox = Outbox()
    outbox.event(phase())
    outbox.event(phase())
    assert seqs(outbox.take()) == [1, 2]
    outbox.event(phase())
    assert seqs(outbox.take()) == [1, 2, 3]
    outbox.acknowledge(2)
    outbox.event(phase())
    assert seqs(outbox.take()) == [3, 4]


def test_too_many_to_repeat_wait_for_the_acknowledgement() -> None:
    outbox = Outbox()
    for _ in range(EVENTS_REPEATED_MAX):
        outbox.event(phase())
    assert len(seqs(outbox.take())) == EVENTS_REPEATED_MAX
    outbox.event(phase())
    assert seqs(outbox.take()) == []
    assert outbox.acknowledge(EVENTS_REPEATED_MAX), "says that others should go out now"
    assert seqs(list(outbox.unacknowledged())) == [EVENTS_REPEATED_MAX + 1]


def test_an_event_whose_place_fell_out_of_the_ring_is_still_kept() -> None:
    outbox = Outbox(records_max=4)
    outbox.event(phase())
    for index in range(10):
        outbox.batch(batch(index))
    assert seqs(outbox.take()) == []
    assert [event.seq for event in outbox.unacknowledged()] == [1]


def test_acknowledged_events_are_forgotten() -> None:
    outbox = Outbox()
    for _ in range(5):
        outbox.event(phase())
    outbox.acknowledge(3)
    assert [event.seq for event in outbox.unacknowledged()] == [4, 5]
    outbox.acknowledge(99)
    assert outbox.acknowledged


def test_the_lane_is_bounded_and_keeps_room_for_what_a_rollback_needs() -> None:
    outbox = Outbox()
    for _ in range(EVENTS_MAX):
        outbox.event(phase())
    assert outbox.events_refused == EVENTS_RESERVED
    assert outbox.event(TrainingEnded(1.0, "order", "", 4, {}))


def test_each_event_is_given_to_the_spool_once() -> None:
    outbox = Outbox()
    outbox.event(phase())
    assert [event.seq for event in outbox.unspooled()] == [1]
    outbox.event(phase())
    assert [event.seq for event in outbox.unspooled()] == [2]
    assert outbox.unspooled() == []


def test_frames_are_numbered_and_hold_no_more_than_the_wire_allows() -> None:
    packer = Packer(SENDER)
    frames = [decode_frame(data) for data in packer.pack([batch(index) for index in range(FRAME_RECORDS + 1)])]
    assert [frame.sequence for frame in frames] == [0, 1]
    assert sum(len(frame.records) for frame in frames) == FRAME_RECORDS + 1
    assert packer.pack([]) == []


def test_records_too_long_for_one_frame_are_split_in_order() -> None:
    packer = Packer(SENDER)
    samples = tuple("x" * 1000 for _ in range(100))
    events: list[Record] = [
        EventSent(seq, NonfiniteSeen(1.0, 1, seq, 1, None, (), None, True, samples, False, "")) for seq in range(1, 9)
    ]
    frames = packer.pack(events)
    assert len(frames) > 1
    assert all(len(data) <= FRAME_BYTES_MAX for data in frames)
    assert seqs([record for data in frames for record in decode_frame(data).records]) == list(range(1, 9))


def test_a_record_that_is_no_value_of_the_wire_is_left_out_and_counted() -> None:
    packer = Packer(SENDER)
    bad = BatchEnded(1.0, 1.0, 1, 1, 10, batch().counts, loss=object())  # type: ignore[arg-type]
    frames = [decode_frame(data) for data in packer.pack([batch(0), bad, batch(2)])]
    assert [record.batch for frame in frames for record in frame.records if isinstance(record, BatchEnded)] == [0, 2]
    assert packer.unsendable == 1


def test_a_record_given_as_a_function_is_made_when_it_is_taken() -> None:
    outbox = Outbox()
    made = batch(1)
    outbox.batch(lambda: made)
    assert outbox.take() == [made]


def test_a_record_that_can_not_be_made_is_counted_and_takes_nothing_with_it() -> None:
    def broken() -> BatchEnded:
        raise ValueError("no such signal")

    outbox = Outbox()
    outbox.batch(batch(1))
    outbox.batch(broken)
    outbox.batch(batch(2))
    assert outbox.take() == [batch(1), batch(2)]
    assert outbox.unmade == 1
