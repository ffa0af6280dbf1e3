"""A trainer made of the wire alone: a real socket, real files, and no training. It keeps the promises of a hook."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import TracebackType

import msgspec
import zmq
from typing_extensions import Self

from trainer_hooks.wire import codec, document_io
from trainer_hooks.wire.messages import (
    PROTOCOL,
    BatchEnded,
    Counts,
    Downlink,
    Event,
    EventSent,
    EventsSeen,
    Frame,
    Nonfinite,
    Order,
    Record,
    Refused,
    Sender,
    TrainingStarted,
)
from trainer_hooks.wire.run_documents import Generation, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

BATCHES_PER_EPOCH = 100
WALL_S = 1_795_016_040.0
POLICY = "version: 1\ntable: {adjust_after: 3, early_share: 0}\n"  # three bad batches are enough for an adjustment


def announce(home: Path, run: str, policy: str = POLICY, act: bool = True) -> RunFolder:
    """A run folder as the supervisor writes it before its first generation."""
    folder = RunFolder(home / "runs" / run)
    folder.create()
    spec = RunSpec(run=run, title=f"test of {run}", argv=("python", "train.py"), cwd="/", created_s=WALL_S, act=act)
    document_io.write(folder.spec, spec)
    folder.policy.write_text(policy)
    return folder


class FakeTrainer:
    """Rank 0 of one generation. Events are kept and sent again until they are acknowledged."""

    def __init__(self, home: Path, run: str, generation: int = 1, nonce: str = "n1", pid: int = 0) -> None:
        self.folder = RunFolder(home / "runs" / run)
        self.sender = Sender(run, generation, 0, nonce)
        self.orders: list[Order] = []
        self.refusals: list[str] = []
        self.seen = 0
        self.counts = Counts()
        self._pid = pid
        self._socket_path = home / "run" / "in.sock"
        self._unseen: list[EventSent] = []
        self._next_event = 1
        self._frames = 0
        self._context = zmq.Context()
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(f"ipc://{self._socket_path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close(0)
        self._context.term()

    def allocate(self, pid: int = 0, supervisor_pid: int = 0) -> None:
        """The generation file, as the supervisor writes it."""
        self.folder.create()
        document = Generation(
            number=self.sender.generation,
            nonce=self.sender.nonce,
            allocated_by="supervisor",
            pid=pid,
            supervisor_pid=supervisor_pid,
        )
        document_io.write(self.folder.generation(self.sender.generation), document)

    def send(self, *records: Record) -> None:
        frame = Frame(PROTOCOL, self.sender, self._frames, records)
        self._frames += 1
        self._socket.send_multipart([codec.encode(frame)])

    def send_bytes(self, data: bytes) -> None:
        self._socket.send_multipart([data])

    def event(self, body: Event) -> EventSent:
        """Send an event that must arrive."""
        event = EventSent(self._next_event, body)
        self._next_event += 1
        self._unseen.append(event)
        self.send(event)
        return event

    def send_unseen_again(self) -> None:
        if self._unseen:
            self.send(*self._unseen)

    def start(self) -> None:
        self.event(training_started(self.folder, self._pid))

    def batches(self, count: int, nonfinite: int = 0, epoch: int = 1) -> None:
        """That many batches in one frame each; `nonfinite` of them, the last ones, with a NaN that the guard cured."""
        for i in range(count):
            bad = i >= count - nonfinite
            self.counts = _after(self.counts, bad)
            self.send(batch(self.counts, epoch, bad))

    def receive(self, within_s: float = 0.0) -> Downlink | None:
        """The next message from the daemon, with what a hook would make of it; None: there is none."""
        if not self._socket.poll(int(within_s * 1000)):
            return None
        message = codec.decode_downlink(self._socket.recv_multipart()[0])
        if isinstance(message, EventsSeen):
            self.seen = max(self.seen, message.seq)
            self._unseen = [event for event in self._unseen if event.seq > message.seq]
        elif isinstance(message, Order):
            self.orders.append(message)
        elif isinstance(message, Refused):
            self.refusals.append(message.reason)
        return message

    def until_seen(self, within_s: float = 20.0) -> None:
        """Until every event is acknowledged, sending them again each second."""
        deadline_s = time.monotonic() + within_s
        while self._unseen:
            if self.receive(0.5) is None:
                self.send_unseen_again()
            assert time.monotonic() < deadline_s, f"events {[e.seq for e in self._unseen]} were not acknowledged"

    def until_order(self, within_s: float = 20.0) -> Order:
        deadline_s = time.monotonic() + within_s
        while not self.orders:
            self.receive(0.2)
            assert time.monotonic() < deadline_s, "no order came"
        return self.orders[0]


def _after(counts: Counts, bad: bool) -> Counts:
    more = msgspec.structs.replace(counts, batches=counts.batches + 1, steps=counts.steps + 1)
    if not bad:
        return more
    return msgspec.structs.replace(
        more,
        nonfinite_batches=counts.nonfinite_batches + 1,
        nonfinite_loss=counts.nonfinite_loss + 1,
        skipped_by_guard=counts.skipped_by_guard + 1,
    )


def batch(counts: Counts, epoch: int = 1, bad: bool = False) -> BatchEnded:
    """A batch of a small training."""
    return BatchEnded(
        wall_s=WALL_S, sent_s=0.1 * counts.batches, epoch=epoch, batch=(counts.batches - 1) % BATCHES_PER_EPOCH,
        batches_per_epoch=BATCHES_PER_EPOCH, counts=counts, loss=math.nan if bad else 2.0,
        parts=(1.0, 0.5, 0.5),
        grad_norm=math.nan if bad else 3.0, nonfinite=int(Nonfinite.LOSS) if bad else 0,
        skipped_by="guard" if bad else "",
        cured=bad, learning_rates=(0.01, 0.01, 0.1), momentum=0.9, weight_decay=0.0005, clip_norm=10.0, batch_size=8,
        memory_reserved=4_200_000_000, batch_s=0.1, data_wait_s=0.01,
    )  # fmt: skip


def training_started(folder: RunFolder, pid: int = 0) -> TrainingStarted:
    """As a small Ultralytics training says it."""
    return TrainingStarted(
        wall_s=WALL_S, framework="ultralytics", versions={"ultralytics": "8.4.190", "torch": "2.14.1"},
        settings={"lr0": "0.01", "momentum": "0.9", "weight_decay": "0.0005", "warmup_epochs": "3.0", "epochs": "50"},
        part_names=("box", "cls", "dfl"), group_names=("weight", "bn", "bias"), group_rates=(0.01, 0.01, 0.01),
        epochs=50,
        start_epoch=1, batches_per_epoch=BATCHES_PER_EPOCH, world_size=1, ordinal=1, save_dir=str(folder.root / "out"),
        run_folder=str(folder.root), pid=pid, device="cpu", arguments_digest="d" * 64,
        base_weight_decays=(0.0005, 0.0, 0.0),
    )  # fmt: skip
