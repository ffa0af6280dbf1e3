from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import zmq

from tests.harness.receiver import wait_for
from tests.harness.records import batch, identity, order, phase
from trainer_hooks.probe import Probe
from trainer_hooks.spool import SPOOL_FILES, Save
from trainer_hooks.wire.codec import decode_frame, encode
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.eventfile import events_path, read_events
from trainer_hooks.wire.messages import (
    BatchEnded,
    EventSent,
    EventsSeen,
    HookTrouble,
    Order,
    OrderApplied,
    Record,
    StacksSeen,
)
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import HangDumpFile


class Desk:
    """A probe, and a daemon's end of its socket in this process."""

    def __init__(self, home: Path) -> None:
        (home / "run").mkdir()
        self._context = zmq.Context()
        self.router = self._context.socket(zmq.ROUTER)
        self.router.bind(f"ipc://{home / 'run' / 'in.sock'}")
        self.identity = identity(home / "runs")
        self.probe = Probe(self.identity)
        self.peer = b""

    def receive(self) -> list[Record]:
        assert self.router.poll(10_000), "nothing came in 10 s"
        self.peer, data = self.router.recv_multipart()
        return list(decode_frame(data).records)

    def receive_until(self, seq: int) -> list[Record]:
        """Everything up to the event with that number."""
        records: list[Record] = []
        while not any(isinstance(record, EventSent) and record.seq == seq for record in records):
            records += self.receive()
        return records

    def answer(self, message: Order | EventsSeen | bytes) -> None:
        self.router.send_multipart([self.peer, message if isinstance(message, bytes) else encode(message)])

    def close(self) -> None:
        self.probe.close(0.5)
        self.router.close(linger=0)
        self._context.term()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="tw-") as home:  # short: a socket's path holds 107 bytes
        monkeypatch.setenv("TRAINWARDEN_HOME", home)
        made = Desk(Path(home))
        yield made
        made.close()


def test_records_and_events_arrive_as_they_happened(desk: Desk) -> None:
    desk.probe.event(phase("train"))
    desk.probe.batch(batch(0))
    desk.probe.batch(batch(1), urgent=True)
    desk.probe.event(phase("validate"))
    records = desk.receive_until(2)
    assert [record.batch for record in records if isinstance(record, BatchEnded)] == [0, 1]
    first = next(record for record in records if isinstance(record, EventSent))
    assert first == EventSent(1, phase("train"))


def test_an_order_sent_three_times_is_obeyed_once_and_a_foreign_one_never(desk: Desk) -> None:
    desk.probe.batch(batch(), urgent=True)
    desk.receive()
    assert desk.probe.order() is None
    for sent in (order("o0", generation=2), b"\xc1 no message", order("o1"), order("o1"), order("o1"), order("o2")):
        desk.answer(sent)
    taken: list[Order] = []

    def take() -> bool:
        found = desk.probe.order()
        taken.extend([found] if found else [])
        return bool(taken) and taken[-1].id == "o2"

    wait_for(take, "the last order")
    assert [found.id for found in taken] == ["o1", "o2"]


def test_the_receipt_is_on_disk_before_anything_is_told(desk: Desk) -> None:
    desk.identity.folder.create()
    desk.probe.settle(order("o1"), "applied", "left the loop", 4, 362, {"lr0": "0.00025"})
    receipt = read(desk.identity.folder.receipt("o1"), Receipt)
    assert (receipt.outcome, receipt.epoch, receipt.batch, receipt.generation) == ("applied", 4, 362, 1)
    told = [record.body for record in desk.receive() if isinstance(record, EventSent)]
    assert isinstance(told[0], OrderApplied)
    assert told[0].read_back == {"lr0": "0.00025"}


def test_an_order_whose_receipt_can_not_be_written_is_not_told_as_applied(desk: Desk) -> None:
    """The run folder does not exist."""
    with pytest.raises(OSError, match="No such file"):
        desk.probe.settle(order("o1"), "applied", "", 4, 362, {})
    desk.probe.event(phase())
    events = [record for record in desk.receive_until(1) if isinstance(record, EventSent)]
    assert [type(event.body).__name__ for event in events] == ["PhaseChanged"]


def test_flush_says_whether_everything_was_acknowledged(desk: Desk) -> None:
    desk.probe.event(phase())
    desk.receive()
    assert not desk.probe.flush(0.2)
    desk.answer(EventsSeen(9, 0, 1))  # of another generation
    assert not desk.probe.flush(0.2)
    desk.answer(EventsSeen(1, 0, 1))
    assert desk.probe.flush(10.0)


def test_troubles_told_count_as_hook_errors(desk: Desk) -> None:
    assert desk.probe.hook_errors == 0
    desk.probe.event(HookTrouble(1.0, "batch", "ValueError", False))
    assert desk.probe.hook_errors == 1
    assert desk.probe.dropped == 0


def test_a_checkpoint_is_copied_and_told(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "last.pt"
    source.write_bytes(b"weights")
    desk.probe.checkpoint(source, Save(epoch=3, ordinal=1, batches=300, nonfinite_batches=0, is_best=True))
    body = next(record.body for record in desk.receive_until(1) if isinstance(record, EventSent))
    assert (desk.identity.folder.spool / getattr(body, "manifest", "")).is_file()


def test_closing_with_nobody_there_is_quick_and_leaves_the_events_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", "/nonexistent/tw")
    us = identity(tmp_path)
    probe = Probe(us)
    probe.event(phase())
    started_s = time.monotonic()
    probe.close(60.0)
    assert time.monotonic() - started_s < 30.0, "waited for a daemon that is not there"
    assert probe.closed
    assert [event.seq for event in read_events(events_path(us.folder, 1, 0))] == [1]


def test_an_order_for_stacks_is_answered_once_though_the_training_thread_takes_nothing(desk: Desk) -> None:
    desk.probe.event(phase("validate"))
    desk.receive()
    wanted = msgspec.structs.replace(order("s1"), kind="stacks")
    desk.answer(wanted)
    desk.answer(wanted)
    records = desk.receive_until(2)
    [seen] = [record.body for record in records if isinstance(record, EventSent) and record.seq == 2]
    assert isinstance(seen, StacksSeen)
    assert (seen.order_id, seen.phase, seen.how) == ("s1", "validate", "hook")
    assert "test_an_order_for_stacks_is_answered_once" in seen.threads[0]
    assert desk.probe.order() is None
    desk.probe.event(phase("train"))
    later = desk.receive_until(3)
    assert not any(isinstance(r.body, StacksSeen) for r in later if isinstance(r, EventSent) and r.seq > 2)


def test_a_beacon_lies_in_the_run_folder_and_beats(desk: Desk) -> None:
    desk.identity.folder.create()
    probe, paper = Probe(desk.identity), desk.identity.folder.hang_dump(1, 0)
    wait_for(paper.exists, "the hang_dump's paper")
    hang_dump = read(paper, HangDumpFile)
    assert hang_dump.pid == os.getpid()

    def heartbeat() -> bytes:
        with open(f"/proc/self/fd/{hang_dump.descriptor}", "rb") as file:
            return file.read(8)

    before = heartbeat()
    wait_for(lambda: heartbeat() != before, "the next beat")
    probe.close(0.5)


def test_what_was_lost_between_daemon_and_training_is_told_with_the_batches(desk: Desk, tmp_path: Path) -> None:
    """Nobody reads the log of a training; what a limit cost there has to be a metric of the daemon."""
    desk.probe.batch(batch(0), urgent=True)
    [first] = [record for record in desk.receive() if isinstance(record, BatchEnded)]
    assert (first.counts.messages_refused, first.counts.copies_lost) == (0, 0)
    for sent in (order("o0", generation=2), b"\xc1 no message", EventsSeen(9, 0, 1), order("o1")):
        desk.answer(sent)
    wait_for(lambda: desk.probe.order() is not None, "the order that is for us")
    source = tmp_path / "last.pt"
    for epoch in range(1, SPOOL_FILES + 3):  # two more than are kept while nobody adopts any
        source.write_bytes(f"weights of epoch {epoch}".encode())
        desk.probe.checkpoint(source, Save(epoch, ordinal=1, batches=epoch, nonfinite_batches=0, is_best=False))
        assert desk.probe.copied(30.0)
    desk.probe.batch(batch(1), urgent=True)
    batches: list[BatchEnded] = []
    while not batches:
        batches = [record for record in desk.receive() if isinstance(record, BatchEnded)]
    assert (batches[-1].counts.messages_refused, batches[-1].counts.copies_lost) == (3, 2)
    assert batches[-1].counts.batches == 2


def test_a_training_that_is_over_ends_its_threads_once_everything_is_acknowledged(desk: Desk) -> None:
    desk.probe.event(phase())
    desk.receive()
    desk.probe.retire()
    assert not desk.probe.flush(0.2)
    assert not desk.probe.closed, "an event is not acknowledged"
    desk.answer(EventsSeen(1, 0, 1, training=2))  # of another training
    assert not desk.probe.flush(0.2)
    desk.answer(EventsSeen(1, 0, 1))
    wait_for(lambda: desk.probe.closed, "the end of the sender")


def test_two_trainings_of_a_process_number_their_events_apart_and_keep_them_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAINWARDEN_HOME", "/nonexistent/tw")
    first = identity(tmp_path)
    probes = [Probe(each) for each in (first, replace(first, training=2))]
    for probe in probes:
        probe.event(phase())
        probe.close(0.5)
    for number in (1, 2):
        assert [event.seq for event in read_events(events_path(first.folder, 1, 0, training=number))] == [1]
    assert {probe._packer.address for probe in probes} == {(1, 1, 0), (1, 2, 0)}


def test_orders_reach_the_training_that_they_name(desk: Desk) -> None:
    desk.probe.batch(batch(), urgent=True)
    desk.receive()
    for sent in (msgspec.structs.replace(order("o1"), training=2), order("o2")):
        desk.answer(sent)
    taken: list[Order] = []

    def take() -> bool:
        found = desk.probe.order()
        taken.extend([found] if found else [])
        return bool(taken)

    wait_for(take, "the order")
    assert [found.id for found in taken] == ["o2"]
