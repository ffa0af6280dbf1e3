"""The limits of what lives in the training's process, just at each of them: the sender, the guard, the hang dump."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import zmq

from tests.harness.recorder import RecordingProbe
from tests.harness.records import batch
from tests.unit.trainer_hooks.test_guard import Trainer
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import STATISTICS_EVERY_STEPS, StepReport
from trainer_hooks.guard.state import PENDING_MAX
from trainer_hooks.hang_dump import DUMP_BYTES_MAX, WORKERS_MAX
from trainer_hooks.integrations.plain import successor
from trainer_hooks.link import RECONNECT_MAX_MS, RECONNECT_MIN_MS, Alarm, Link
from trainer_hooks.orders import OrderInbox
from trainer_hooks.outbox import FRAME_RECORDS, Outbox, Packer
from trainer_hooks.recorder import recorder as recording
from trainer_hooks.recorder.assess import Counted, WatchingAssessor
from trainer_hooks.recorder.batch import BatchContents
from trainer_hooks.recorder.recorder import DELAYED_MAX, Recorder
from trainer_hooks.sender import BACKOFF_MAX_S, BACKOFF_MIN_S, FRAMES_PER_ROUND_MAX, SenderThread
from trainer_hooks.updates import UpdateSampler
from trainer_hooks.wire.eventfile import EventFile
from trainer_hooks.wire.messages import Sender

SENDER = Sender("night", 1, 0, "nonce")
ROOT = Path(__file__).resolve().parents[2]


class Waits(threading.Event):
    """A stop signal that notes how long it was waited for, does not wait, and comes after some waits."""

    def __init__(self, waits_max: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self.waits_max = waits_max

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        if len(self.waited) == self.waits_max:
            self.set()
        return self.is_set()


def sender(folder: Path, outbox: Outbox) -> SenderThread:
    def no_address() -> str:
        raise OSError("no socket can be had")

    return SenderThread(no_address, outbox, Packer(SENDER), OrderInbox(SENDER), EventFile(folder / "events-1-0.bin"))


def test_a_sender_that_fails_starts_over_less_and_less_often_up_to_a_limit(tmp_path: Path) -> None:
    thread = sender(tmp_path, Outbox())
    thread._stopping = waits = Waits(9)
    thread._run()
    doubled = [BACKOFF_MIN_S * 2**number for number in range(waits.waits_max)]
    assert waits.waited == pytest.approx([min(wait_s, BACKOFF_MAX_S) for wait_s in doubled])
    assert doubled[-1] > BACKOFF_MAX_S
    assert thread.errors == waits.waits_max


class Sink:
    """A link that takes every frame."""

    writable = True

    def __init__(self) -> None:
        self.frames = 0

    def send(self, data: bytes) -> bool:
        self.frames += bool(data)
        return True


@pytest.mark.parametrize("beyond", [0, 3])
def test_a_round_sends_a_limited_number_of_frames_and_the_next_one_the_rest(tmp_path: Path, beyond: int) -> None:
    frames = FRAMES_PER_ROUND_MAX + beyond
    outbox, sink = Outbox(records_max=frames * FRAME_RECORDS), Sink()
    for number in range(frames * FRAME_RECORDS):
        outbox.batch(batch(number))
    thread = sender(tmp_path, outbox)
    thread._send_new(sink, 0.0)  # type: ignore[arg-type]
    assert sink.frames == FRAMES_PER_ROUND_MAX
    assert outbox.empty == (not beyond)
    thread._send_new(sink, 0.0)  # type: ignore[arg-type]
    assert sink.frames == frames
    assert (outbox.empty, outbox.dropped) == (True, 0)


def test_a_daemon_that_is_away_is_looked_for_less_and_less_often_up_to_a_limit(tmp_path: Path) -> None:
    """ZeroMQ does it: without a limit of its own, it would look every 100 ms for ever."""
    link = Link(f"ipc://{tmp_path / 's'}", Alarm())
    try:
        asked = [link._socket.getsockopt(option) for option in (zmq.RECONNECT_IVL, zmq.RECONNECT_IVL_MAX)]
    finally:
        link.close()
    assert asked == [RECONNECT_MIN_MS, RECONNECT_MAX_MS]


def test_looks_of_the_guard_that_nobody_reads_are_begun_up_to_a_limit_and_again_once_they_are_read() -> None:
    trainer = Trainer()
    begun = []
    for _ in range((PENDING_MAX + 2) * STATISTICS_EVERY_STEPS):
        trainer.step(trainer.forward())
        begun.append(len(trainer.guard.measures()))
    assert max(begun) == begun[-1] == PENDING_MAX
    assert begun[PENDING_MAX * STATISTICS_EVERY_STEPS :] == [PENDING_MAX] * 2 * STATISTICS_EVERY_STEPS
    assert trainer.guard.resolve([float(measure) for measure in trainer.guard.measures()])
    for _ in range(STATISTICS_EVERY_STEPS):
        trainer.step(trainer.forward())
    assert len(trainer.guard.measures()) == 1


class Late:
    """Scalars that are on their way from a device until `arrived`: there is none here."""

    arrived = False

    def __init__(self, scalars: Sequence[torch.Tensor]) -> None:
        self._values = [float(scalar) for scalar in scalars]

    def values(self) -> list[float] | None:
        return self._values if Late.arrived else None


@pytest.mark.parametrize("beyond", [0, 3])
def test_batches_whose_scalars_are_late_are_kept_up_to_a_limit_and_older_ones_count_as_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    monkeypatch.setattr(recording, "DelayedRead", Late)
    monkeypatch.setattr(recording, "is_away", lambda value: isinstance(value, torch.Tensor))
    monkeypatch.setattr(Late, "arrived", False)
    probe, counted, weight = RecordingProbe(tmp_path), Counted(), torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    recorder = Recorder(
        probe, FailOpen(probe.event), optimizer, torch.device("cpu"), WatchingAssessor(counted), counted,
        updates=UpdateSampler(optimizer, 0),
    )  # fmt: skip
    recorder._on_cuda, recorder._waits = True, False
    for number in range(DELAYED_MAX + beyond):
        recorder.batch = number
        pending = recorder.pending(BatchContents(), StepReport(), torch.tensor(float(number)))
        assert recorder.record(pending) is None
    assert probe.batches == []
    monkeypatch.setattr(Late, "arrived", True)
    recorder.read_delayed()
    assert [record.batch for record in probe.batches] == list(range(beyond, DELAYED_MAX + beyond))
    assert [record.loss for record in probe.batches] == [float(record.batch) for record in probe.batches]
    assert probe.batches[-1].counts.records_dropped == beyond


WORKERS = """
import os, sys, threading, time
from pathlib import Path
from trainer_hooks.hang_dump import arm

heartbeat = arm(Path(sys.argv[1]))
read, write = os.pipe()

def deep(left: int) -> None:
    if left:
        deep(left - 1)
    else:
        time.sleep(60)

def main_of_a_worker() -> None:
    for _ in range(int(sys.argv[3])):
        threading.Thread(target=deep, args=(95,), daemon=True).start()
    os.write(write, b"!")
    time.sleep(60)

pids = []
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        main_of_a_worker()
        os._exit(0)
    pids.append(pid)
    os.read(read, 1)
for text in heartbeat.ask_workers():
    print(len(text), text.splitlines()[0], "|", text.splitlines()[-1])
for pid in pids:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""


def asked(folder: Path, workers: int, threads: int = 0) -> list[str]:
    """What a process with such workers says of them, a line each: length, first line, last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WORKERS, str(folder / "hang_dump.json"), str(workers), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("beyond", [0, 2])
def test_workers_of_a_loader_are_asked_up_to_a_limit_and_the_rest_is_counted(tmp_path: Path, beyond: int) -> None:
    lines = asked(tmp_path, WORKERS_MAX + beyond)
    told = [line for line in lines if "worker process " in line and "main_of_a_worker" in line]
    assert len(told) == WORKERS_MAX
    assert lines[WORKERS_MAX:] == [line for line in lines if f"and {beyond} more worker process" in line]
    assert len(lines) == WORKERS_MAX + bool(beyond)


def test_what_a_worker_with_very_many_threads_writes_is_read_up_to_a_limit(tmp_path: Path) -> None:
    """Its main thread stands at the end of what faulthandler writes, and is not reached: another one is shown."""
    [few] = asked(tmp_path, 1, threads=1)
    assert few.endswith(" main_of_a_worker") or "main_of_a_worker" in few
    frame_bytes = 30
    [many] = asked(tmp_path, 1, threads=DUMP_BYTES_MAX // (95 * frame_bytes) + 10)
    assert "main_of_a_worker" not in many
    assert many.rpartition("| ")[2].strip()


def test_a_script_that_leaves_steps_out_for_ever_is_searched_for_few_times() -> None:
    """Each search for another optimizer looks through every object of the process."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    looked, searches = successor.Successor(model, lambda _: None), []
    looked.batch_ended(optimizer, stepped=True)
    for _ in range(10 * successor.MISSED * successor.LATER ** (successor.SEARCHES_MAX - 1)):
        looked.batch_ended(optimizer, stepped=False)
        searches.append(looked.searches)
    assert searches[successor.MISSED - 2 : successor.MISSED] == [0, 1]
    assert searches[-1] == successor.SEARCHES_MAX
