"""The sender thread against a receiver that is stopped, killed, restarted, deaf or never there. Real processes."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.harness.receiver import Receiver, wait_for
from tests.harness.records import batch, phase
from trainer_hooks.link import FRAMES_QUEUED_MAX
from trainer_hooks.orders import OrderInbox
from trainer_hooks.outbox import RING_RECORDS, Outbox, Packer
from trainer_hooks.sender import SenderThread
from trainer_hooks.wire.eventfile import EventFile, read_events
from trainer_hooks.wire.messages import BatchEnded, HookTrouble, Sender

OFFERED = 100_000
US = Sender("night", 1, 0, "nonce")


class Sending:
    """One rank's outbox and sender thread, and the receiver they send to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receiver = Receiver(folder / "in.sock", folder / "log")
        self.outbox = Outbox()
        self.events = folder / "events-1-0.bin"
        self.threads: list[SenderThread] = []

    def send(self, round_s: float = 0.05) -> SenderThread:
        address = f"ipc://{self.receiver.socket}"
        inbox, events = OrderInbox(US), EventFile(self.events)
        thread = SenderThread(lambda: address, self.outbox, Packer(US), inbox, events, round_s)
        self.threads.append(thread)
        thread.start()
        return thread

    def offer(self, count: int = OFFERED, start: int = 0) -> None:
        for index in range(start, start + count):
            self.outbox.batch(batch(index))

    def received(self) -> int:
        return self.receiver.count("batch")


@pytest.fixture
def sending() -> Iterator[Sending]:
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:  # short: a socket's path holds 107 bytes
        made = Sending(Path(folder))
        yield made
        for thread in made.threads:
            assert thread.stop(10.0), "the sender thread did not end"
        made.receiver.kill()


def assert_row(seqs: list[object]) -> None:
    """Each event came for the first time right after the one before it."""
    last = 0
    for seq in seqs:
        assert isinstance(seq, int)
        assert seq <= last + 1, f"event {seq} came after {last}"
        last = max(last, seq)


def test_a_stopped_receiver_never_blocks_and_every_record_is_received_or_counted(sending: Sending) -> None:
    sending.receiver.start()
    sending.offer(100)
    thread = sending.send()
    wait_for(lambda: sending.received() == 100, "the first records")
    sending.receiver.signal(signal.SIGSTOP)
    sending.offer(OFFERED, start=100)  # comes back although nobody receives
    dropped = sending.outbox.dropped
    assert dropped > 0, "the fault did not fire: nothing was dropped"
    sending.receiver.signal(signal.SIGCONT)
    assert thread.flush(30.0)
    wait_for(lambda: sending.received() + sending.outbox.dropped == 100 + OFFERED, "the rest of the records")
    assert sending.receiver.numbers("batch")[-1] == 100 + OFFERED - 1


def test_a_killed_receiver_never_blocks_and_its_successor_gets_the_newest(sending: Sending) -> None:
    sending.receiver.start()
    thread = sending.send()
    sending.offer(100)
    wait_for(lambda: sending.received() == 100, "the first records")
    sending.receiver.kill()
    sending.offer(OFFERED, start=100)
    assert sending.outbox.dropped >= OFFERED - RING_RECORDS - 32 * 256, "more left than ZeroMQ may hold"
    sending.receiver.start()
    assert thread.flush(30.0)
    wait_for(lambda: 100 + OFFERED - 1 in sending.receiver.numbers("batch"), "the newest record")
    assert thread.errors == 0


def test_a_restarted_receiver_gets_the_waiting_events_in_order_and_the_old_ones_never_again(sending: Sending) -> None:
    sending.receiver.start()
    thread = sending.send()
    for _ in range(5):
        sending.outbox.event(phase())
    assert thread.flush(30.0)
    sending.receiver.kill()
    before = len(sending.receiver.lines())
    for index in range(40):
        sending.outbox.event(phase())
        sending.outbox.batch(batch(index))
    assert not thread.flush(0.5)
    sending.receiver.start()
    assert thread.flush(30.0)
    seqs = [line[2] for line in sending.receiver.lines()[before:] if line[0] == "event"]
    assert seqs[0] == 6, "acknowledged events are forgotten"
    assert_row([seq - 5 for seq in seqs if isinstance(seq, int)])
    assert max(seq for seq in seqs if isinstance(seq, int)) == 45


def test_events_of_a_receiver_killed_again_and_again_come_in_order_without_gaps(sending: Sending) -> None:
    thread = sending.send()
    for _ in range(6):
        sending.receiver.start()
        for _ in range(30):
            sending.outbox.event(phase())
        thread.wake()
        wait_for(lambda: sending.receiver.count("event") > 0, "an event")
        sending.receiver.kill()
    sending.receiver.start()
    assert thread.flush(30.0)
    seqs = sending.receiver.numbers("event")
    assert_row(seqs)
    assert max(seq for seq in seqs if isinstance(seq, int)) == 180


def test_events_are_sent_again_until_somebody_acknowledges_them(sending: Sending) -> None:
    sending.receiver.start(deaf=True)
    thread = sending.send()
    sending.outbox.event(phase())
    wait_for(lambda: sending.receiver.count("event") >= 3, "the second repetition")
    assert not sending.outbox.acknowledged
    sending.receiver.kill()
    sending.receiver.start()
    assert thread.flush(30.0)


def test_a_thousand_waiting_events_arrive_in_order(sending: Sending) -> None:
    for _ in range(1_000):
        sending.outbox.event(phase())
    thread = sending.send()
    sending.receiver.start()
    assert thread.flush(30.0)
    seqs = sending.receiver.numbers("event")
    assert_row(seqs)
    assert set(seqs) == set(range(1, 1_001))


def test_what_nobody_acknowledged_is_in_the_file_and_what_was_is_not(sending: Sending) -> None:
    thread = sending.send()
    for _ in range(3):
        sending.outbox.event(phase())
    thread.wake()
    wait_for(lambda: sending.events.exists() and len(read_events(sending.events)) == 3, "the events file")
    sending.receiver.start()
    assert thread.flush(30.0)
    assert thread.stop(10.0)
    assert not sending.events.exists()


def test_frames_that_find_no_room_are_kept_and_not_called_sent(sending: Sending) -> None:
    """Records so long that each needs a frame of its own: one turn makes more frames than ZeroMQ may hold."""
    sending.receiver.start()
    thread = sending.send()
    wait_for(lambda: thread.connected, "the connection")
    sending.receiver.signal(signal.SIGSTOP)
    long = msgspec.structs.replace(batch(), parts=(0.5,) * 20_000)
    for index in range(3 * FRAMES_QUEUED_MAX):
        sending.outbox.batch(msgspec.structs.replace(long, batch=index))
    wait_for(lambda: sending.outbox.empty, "the records to be taken")
    sending.outbox.event(phase())
    wait_for(lambda: sending.events.exists() and len(read_events(sending.events)) == 1, "the thread to go on turning")
    assert not thread.flush(0.5)
    sending.receiver.signal(signal.SIGCONT)
    assert thread.flush(30.0)
    wait_for(lambda: sending.received() == 3 * FRAMES_QUEUED_MAX, "every record")
    assert sending.receiver.numbers("batch") == list(range(3 * FRAMES_QUEUED_MAX))


def test_an_urgent_record_does_not_wait_for_the_next_turn(sending: Sending) -> None:
    """With turns an hour apart, whatever arrives was sent because of the wake-up."""
    sending.receiver.start()
    thread = sending.send(round_s=3600.0)

    def connected() -> bool:
        thread.wake()
        return thread.connected

    wait_for(connected, "the connection")
    sending.outbox.batch(batch(0))
    sending.outbox.batch(batch(1))
    assert sending.received() == 0
    thread.wake()
    wait_for(lambda: sending.received() == 2, "both records")


def test_a_link_that_can_not_be_opened_is_tried_again_and_the_events_are_in_the_file(sending: Sending) -> None:
    tries: list[int] = []

    def address() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no such place")
        return f"ipc://{sending.receiver.socket}"

    sending.receiver.start()
    sending.outbox.event(phase())
    thread = SenderThread(address, sending.outbox, Packer(US), OrderInbox(US), EventFile(sending.events))
    sending.threads.append(thread)
    thread.start()
    wait_for(lambda: sending.events.exists() and len(read_events(sending.events)) == 1, "the events file")
    assert thread.flush(30.0)
    assert thread.errors == 2


def test_without_any_receiver_stopping_takes_no_time(sending: Sending) -> None:
    thread = sending.send()
    sending.offer(10)
    assert not thread.flush(0.2)
    assert thread.stop(5.0)


def no_value_of_the_wire() -> BatchEnded:
    return msgspec.structs.replace(batch(), momentum=np.float64(0.9))


def no_record() -> BatchEnded:
    raise ValueError("no such signal")


@pytest.mark.parametrize("broken", [no_value_of_the_wire, no_record])
def test_that_records_never_leave_is_told_once(sending: Sending, broken: Callable[[], BatchEnded]) -> None:
    """Else a daemon that hears only of a start and of checkpoints would take the silence between for health."""
    sending.receiver.start(deaf=True)
    sending.send()
    for index in range(2):
        sending.outbox.batch(broken)
        sending.outbox.batch(batch(index))
        wait_for(lambda: sending.events.exists() and bool(read_events(sending.events)), "the trouble in the file")
    wait_for(lambda: sending.received() == 2, "the records beside the broken ones")
    (told,) = read_events(sending.events)
    assert isinstance(told.body, HookTrouble)
    assert ("numpy.float64" if broken is no_value_of_the_wire else "no such signal") in told.body.error
