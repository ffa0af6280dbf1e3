"""The limits of what lives in the training's process."""

from __future__ import annotations

import functools
import math
import os
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
import torch
import zmq

from tests.harness.receiver import wait_for
from tests.harness.recorder import RecordingProbe
from tests.harness.records import batch, identity, order, phase
from tests.unit.trainer_hooks.test_probe import Desk
from trainer_hooks.fail_open import ERRORS_MAX, FailOpen
from trainer_hooks.guard import STATISTICS_EVERY_STEPS, StepReport, look_at
from trainer_hooks.guard.average import GuardedAverage
from trainer_hooks.guard.state import PENDING_MAX, GuardedState
from trainer_hooks.identity import GENERATIONS_TRIED_MAX, IdentityError, _take_generation
from trainer_hooks.link import MESSAGES_READ_MAX, Alarm, Link
from trainer_hooks.orders import ORDER_IDS_MAX, ORDER_NAME_CHARS_MAX, OrderInbox
from trainer_hooks.outbox import EVENTS_MAX, EVENTS_REPEATED_MAX, Outbox
from trainer_hooks.recorder.assess import Counted, WatchingAssessor
from trainer_hooks.recorder.batch import SAMPLES_CHARS_MAX, BatchContents
from trainer_hooks.recorder.recorder import EVIDENCE_MAX, Recorder
from trainer_hooks.recorder.settings import CHANGES_MAX, ChangeEvents, SettingChange
from trainer_hooks.sanitize import fit
from trainer_hooks.sender import COMPLAINTS_MAX, DUMPS_MAX
from trainer_hooks.spool import WAITING_MAX, Save, Spool, request_of
from trainer_hooks.stacks import FRAMES_MAX, NAME_CHARS_MAX, THREADS_MAX, describe_threads
from trainer_hooks.training_claims import TRIES_MAX, ClaimError, TrainingCall, claim
from trainer_hooks.updates import ROW_VALUES_MAX, TENSORS_MAX, VALUES_MAX, UpdateSampler, sample
from trainer_hooks.wire.codec import FRAME_BYTES_MAX, WireError, decode_frame, encode
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.eventfile import EVENTS_FILE_MAX, EventFile
from trainer_hooks.wire.messages import (
    EventSent,
    Frame,
    HookTrouble,
    NonfiniteSeen,
    Record,
    Refused,
    Sender,
    StacksSeen,
    TrainingEnded,
)
from trainer_hooks.wire.runfolder import ENV_HOME, SOCKET_PATH_MAX, RunFolder, records_socket

SENDER = Sender("night", 1, 0, "nonce")


def test_a_hook_is_switched_off_at_its_last_error_and_never_called_again() -> None:
    reported: list[HookTrouble] = []
    calls = []

    def body() -> None:
        calls.append(1)
        raise ValueError("broken")

    fail_open = FailOpen(reported.append)
    for _ in range(ERRORS_MAX + 5):
        fail_open.run("batch", body)
    assert len(calls) == ERRORS_MAX == fail_open.errors
    assert [trouble.switched_off for trouble in reported] == [False] * (ERRORS_MAX - 1) + [True]
    assert fail_open.run("another", lambda: 7) == 7, "each hook has its own count"


def test_a_process_stops_trying_for_a_generation_that_others_take_each_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "night")
    folder.create()
    tries = []

    class Contested(RunFolder):
        def last_generation(self) -> int:  # another process has just taken the next one
            tries.append(1)
            (self.root / f"generation-{len(tries)}.json").write_text("{}")
            return len(tries) - 1

    with pytest.raises(IdentityError, match=f"{GENERATIONS_TRIED_MAX} generations were taken by others"):
        _take_generation(Contested(folder.root), "nonce")
    assert len(tries) == GENERATIONS_TRIED_MAX


def test_a_training_stops_trying_for_a_number_that_is_taken_each_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "night")
    tries = []

    class Contested(RunFolder):
        def claim(self, training: int, generation: int, rank: int = 0) -> Path:  # another process has just taken it
            tries.append(training)
            taken = super().claim(training, generation, rank)
            taken.touch()
            return taken

    with pytest.raises(ClaimError, match=f"{TRIES_MAX} numbers were taken by other trainings"):
        claim(Contested(folder.root), 1, TrainingCall(1))
    assert tries == list(range(1, TRIES_MAX + 1))
    assert claim(folder, 1, TrainingCall(1)).number == TRIES_MAX + 1


def test_bad_batches_are_reported_with_their_samples_up_to_a_limit_and_counted_beyond(tmp_path: Path) -> None:
    probe, optimizer, counted = RecordingProbe(tmp_path), optimizer_over((2, 2)), Counted()
    recorder = Recorder(
        probe, FailOpen(probe.event), optimizer, torch.device("cpu"),
        WatchingAssessor(counted, lambda: look_at(torch.nn.Linear(1, 1))), counted,
        updates=UpdateSampler(optimizer, 0), evidence=True,
    )  # fmt: skip
    for _ in range(EVIDENCE_MAX + 3):
        pending = recorder.pending(BatchContents(), StepReport(), torch.tensor(math.nan))
        recorder.record(pending)
    assert len(probe.of(NonfiniteSeen)) == EVIDENCE_MAX
    assert probe.batches[-1].counts.nonfinite_batches == EVIDENCE_MAX + 3


def test_names_of_samples_in_one_event_are_kept_whole_up_to_a_limit(tmp_path: Path) -> None:
    """A text that is cut to fit looks like another one with the same beginning."""
    probe, optimizer, counted = RecordingProbe(tmp_path), optimizer_over((2, 2)), Counted()
    recorder = Recorder(
        probe, FailOpen(probe.event), optimizer, torch.device("cpu"),
        WatchingAssessor(counted, lambda: look_at(torch.nn.Linear(1, 1))), counted, evidence=True,
        updates=UpdateSampler(optimizer, 0),
    )  # fmt: skip
    names = tuple(f"{number:0128d}" for number in range(SAMPLES_CHARS_MAX // 128 + 1))
    for samples in (names[1:], names):
        pending = recorder.pending(
            BatchContents(name_samples=functools.partial(tuple, samples)), StepReport(), torch.tensor(math.nan)
        )
        recorder.record(pending)
    whole, cut = probe.of(NonfiniteSeen)
    assert (whole.samples, whole.samples_partial) == (names[1:], False)
    assert (cut.samples, cut.samples_partial) == (names[:-1], True)
    sent = fit(cut)
    assert isinstance(sent, NonfiniteSeen)
    assert sent.samples == cut.samples


def test_changes_of_one_setting_are_reported_up_to_a_limit_and_those_of_another_still_are() -> None:
    events = ChangeEvents()
    reported = [
        events.events(1, number, [SettingChange("lr", number, number + 1, "")]) for number in range(CHANGES_MAX + 2)
    ]
    assert [len(each) for each in reported] == [1] * CHANGES_MAX + [0, 0]
    assert [each.name for each in events.events(1, 99, [SettingChange("momentum", 0.9, 0.8, "")])] == ["momentum"]


def test_a_flood_of_messages_is_read_in_turns(tmp_path: Path) -> None:
    """A daemon that floods must not keep us from sending."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{tmp_path / 's'}")
    link = Link(f"ipc://{tmp_path / 's'}", Alarm())
    try:
        while not link.send(b"hello"):
            link.wait(0.05)
        peer, _ = router.recv_multipart()
        for number in range(MESSAGES_READ_MAX + 10):
            router.send_multipart([peer, str(number).encode()])
        got: list[bytes] = []
        turns = []
        while len(got) < MESSAGES_READ_MAX + 10:
            link.wait(5.0)
            turns.append(link.receive())
            got += turns[-1]
        assert max(map(len, turns)) <= MESSAGES_READ_MAX
        assert got == [str(number).encode() for number in range(MESSAGES_READ_MAX + 10)]
    finally:
        link.close()
        router.close(linger=0)
        context.term()


def test_orders_are_remembered_up_to_a_limit_and_refused_and_counted_beyond() -> None:
    inbox = OrderInbox(SENDER)
    assert all(inbox.offer(order(f"o{number}")) for number in range(ORDER_IDS_MAX))
    assert not inbox.offer(order("one too many"))
    assert inbox.refused == 1


@pytest.mark.parametrize("field", ["id_", "plan"])
def test_an_order_whose_name_is_too_long_for_a_file_is_refused_and_counted(field: str) -> None:
    inbox = OrderInbox(SENDER)
    assert inbox.offer(order(**{"id_": "a", field: "x" * ORDER_NAME_CHARS_MAX}))  # type: ignore[arg-type]
    assert not inbox.offer(order(**{"id_": "b", field: "x" * (ORDER_NAME_CHARS_MAX + 1)}))  # type: ignore[arg-type]
    assert not inbox.offer(order(**{"id_": "c", field: "ü" * (ORDER_NAME_CHARS_MAX // 2 + 1)}))  # type: ignore[arg-type]
    assert inbox.refused == 2


def test_events_that_nobody_acknowledges_are_refused_at_the_limit_and_counted() -> None:
    outbox = Outbox()
    vital = TrainingEnded(0.0, "finished", "", 1, {})
    assert all(outbox.event(vital) for _ in range(EVENTS_MAX))
    assert not outbox.event(vital)
    assert outbox.events_refused == 1


def test_a_new_event_brings_only_so_many_old_ones_along() -> None:
    outbox = Outbox()
    for _ in range(EVENTS_REPEATED_MAX):
        outbox.event(phase())
    assert len(outbox.take()) == EVENTS_REPEATED_MAX
    few = Outbox(records_max=1)  # the entries of all but the last have fallen out of the ring
    for _ in range(EVENTS_REPEATED_MAX + 1):
        few.event(phase())
    assert few.take() == [], "they are too many to repeat: they go out with the next resending"
    assert len(few.unacknowledged()) == EVENTS_REPEATED_MAX + 1


def test_checkpoints_that_wait_to_be_copied_give_way_to_newer_ones_and_are_counted(tmp_path: Path) -> None:
    """The helper is held at the first; the sixth of different files takes the place of the oldest that waits."""
    reporting = threading.Event()
    go_on = threading.Event()

    def hold(_: object) -> None:
        reporting.set()
        go_on.wait(20)

    us = identity(tmp_path)
    spool = Spool(us, hold)
    for number in range(WAITING_MAX + 3):
        source = tmp_path / f"{number}.pt"
        source.write_bytes(b"weights")
        spool.offer(request_of(source, Save(1, 1, number, 0, is_best=False)))
        if number == 0:
            assert reporting.wait(20)  # it is copied and is being reported: everything after it waits
    assert spool.displaced == 2
    go_on.set()
    assert spool.finish(30.0)
    assert len(list(us.folder.spool.glob("*.json"))) == 1 + WAITING_MAX


def test_stacks_are_bounded_in_threads_frames_and_names() -> None:
    done = threading.Event()

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            done.wait(20)

    name = "n" * 2 * NAME_CHARS_MAX
    threads = [threading.Thread(target=deep, args=(FRAMES_MAX + 10,), name=name) for _ in range(THREADS_MAX + 3)]
    for thread in threads:
        thread.start()
    try:
        described = describe_threads()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(described) == THREADS_MAX + 1
    assert described[-1].startswith("and ")
    assert described[-1].endswith(" more threads")
    ours = next(text for text in described if text.startswith("nnn"))
    first, second, *_ = ours.splitlines()
    assert first == name[:NAME_CHARS_MAX]
    assert "frames further out" in second
    assert len(ours.splitlines()) <= FRAMES_MAX + 2


def test_a_sample_of_the_weights_is_bounded_and_passes_over_long_rows() -> None:
    taken = sample(optimizer_over(*[(100, 100)] * 3 * TENSORS_MAX))
    assert len(taken) == TENSORS_MAX
    assert all(tensor.numel() <= VALUES_MAX for tensor in taken)
    long = optimizer_over((2, ROW_VALUES_MAX + 1), (2, ROW_VALUES_MAX))
    assert [tensor.shape[1] for tensor in sample(long)] == [ROW_VALUES_MAX]


def optimizer_over(*shapes: tuple[int, int]) -> torch.optim.Optimizer:
    """An optimizer over weights of these shapes, as after a backward pass."""
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    return torch.optim.SGD(weights, lr=0.1)


def test_the_events_file_is_bounded_and_what_no_longer_fits_is_counted(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "spool" / "events-1-0.bin")
    event = EventSent(1, HookTrouble(0.0, "h", "x" * 4000, False))
    while file.append(event):
        assert (tmp_path / "spool" / "events-1-0.bin").stat().st_size <= EVENTS_FILE_MAX
    assert not file.append(event)
    assert file.left_out == 2
    size = (tmp_path / "spool" / "events-1-0.bin").stat().st_size
    assert EVENTS_FILE_MAX - 5000 < size <= EVENTS_FILE_MAX
    file.close()


def test_a_frame_over_its_limit_is_refused_on_both_sides() -> None:
    with pytest.raises(WireError, match=f"the limit is {FRAME_BYTES_MAX}"):
        decode_frame(b"\x00" * (FRAME_BYTES_MAX + 1))
    long = EventSent(1, HookTrouble(0.0, "h", "x" * FRAME_BYTES_MAX, False))
    with pytest.raises(WireError, match="send fewer records"):
        encode(Frame(1, SENDER, 0, (long, batch())))


def test_a_home_whose_socket_would_have_too_long_a_path_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = len(os.fsencode(Path("run") / "in.sock")) + 1
    fits = "/" + "h" * (SOCKET_PATH_MAX - rest - 1)
    monkeypatch.setenv(ENV_HOME, fits)
    assert len(os.fsencode(records_socket())) == SOCKET_PATH_MAX
    monkeypatch.setenv(ENV_HOME, fits + "h")
    with pytest.raises(RunFolderError, match=f"a socket's path holds {SOCKET_PATH_MAX} bytes, set {ENV_HOME}"):
        records_socket()


def test_complaints_in_the_users_log_and_answers_to_orders_for_stacks_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that is broken, or no daemon at all, must not fill a log or a disk."""
    with tempfile.TemporaryDirectory(prefix="tw-") as home:  # short: a socket's path holds 107 bytes
        monkeypatch.setenv(ENV_HOME, home)
        desk = Desk(Path(home))
        try:
            desk.probe.event(phase())
            desk.receive()
            for number in range(COMPLAINTS_MAX + 5):
                desk.answer(encode(Refused(f"reason {number}")))
            for number in range(DUMPS_MAX + 3):
                desk.answer(msgspec.structs.replace(order(f"s{number}"), kind="stacks"))
            desk.answer(order("the last"))
            wait_for(lambda: desk.probe.order() is not None, "the last order")
            desk.probe.event(phase("save"))
            records: list[Record] = []
            while not any(isinstance(r, EventSent) and getattr(r.body, "phase", "") == "save" for r in records):
                records += desk.receive()
        finally:
            desk.close()
    answered = {r.body.order_id for r in records if isinstance(r, EventSent) and isinstance(r.body, StacksSeen)}
    assert answered == {f"s{number}" for number in range(DUMPS_MAX)}
    assert sum("refused our records" in record.getMessage() for record in caplog.records) == COMPLAINTS_MAX


def test_measures_that_nobody_reads_are_no_more_than_their_limit_and_those_there_are_can_still_be_read() -> None:
    state = GuardedState(torch.nn.BatchNorm1d(2), GuardedAverage(FailOpen(print), lambda: True), acts=True)
    for _ in range(PENDING_MAX + 3):
        state.good_steps += STATISTICS_EVERY_STEPS
        state.look()
    assert len(state.pending) == PENDING_MAX
    assert state.resolve([float(measure) for _, measure in state.pending])
    assert state.pending == []
