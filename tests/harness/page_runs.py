"""What the page's tests show: a night that is over, and a training that goes on, in one daemon."""

from __future__ import annotations

import math
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced, TimelineLine
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import WhenClean
from monitor.history.recall import open_history
from monitor.history.transaction_rows import Commit
from tests.harness.finished import lay_down
from tests.harness.real_daemon import DaemonProcess
from tests.harness.simulated_run import RUN
from tests.harness.simulation import GIB, At, Simulation, supervised
from tests.harness.trainer import BATCHES_PER_EPOCH, FakeTrainer, announce, batch
from trainer_hooks.wire.messages import BatchEnded, Counts

NIGHT, LIVE = RUN, "live"
HOSTILE = '<img src=x onerror="document.title=1"> <b>live</b>'
EPOCHS, BATCHES = 5, 2500
BAD_FROM = 32  # of epoch 4


def night() -> Simulation:
    """NaN from batch 32 of epoch 4 on, in about one batch of a hundred; back to epoch 3, and on to the end."""
    draw = random.Random(4)

    def fault(at: At) -> bool:
        return at.generation == 1 and at.epoch == 4 and at.batch >= BAD_FROM and (at.batch - BAD_FROM) % 97 == 0

    def fields(at: At) -> dict[str, object]:
        done = (at.epoch - 1) * BATCHES + at.batch
        warm = min(1.0, (done + 1) / 600)
        rate = (at.settings.learning_rate or 0.0005) if at.settings else 0.0005
        reserved = 4.20 if at.epoch < 4 or at.generation > 1 else 4.20 + 0.51 * min(1.0, at.batch / 400)
        found: dict[str, object] = {
            "learning_rates": tuple(rate * warm * (1 - 0.9 * done / (EPOCHS * BATCHES)) for _ in range(3)),
            "memory_reserved": int(reserved * GIB), "memory_allocated": int((reserved - 0.6) * GIB),
            "batch_s": 0.47 * math.exp(draw.gauss(0, 0.05)), "data_wait_s": 0.02 * math.exp(draw.gauss(0, 0.4)),
        }  # fmt: skip
        if not fault(at):
            loss = (1.1 + 2.2 * math.exp(-done / 1500)) * math.exp(draw.gauss(0, 0.07))
            norm = 4.0 * math.exp(draw.gauss(0, 0.25))
            found |= {"loss": loss, "parts": (0.5 * loss, 0.3 * loss, 0.2 * loss), "grad_norm": norm}
        return found

    start_s = time.time() - 3 * 3600.0
    simulation = supervised(
        policy=Policy(when_clean=WhenClean.ROLLBACK), fault=fault, fields=fields, epochs=EPOCHS,
        batches_per_epoch=BATCHES, batch_s=0.47,
        start_s=start_s, deadline_s=start_s + 12 * 86_400.0,
    )  # fmt: skip
    simulation.train()
    return simulation


def lay_down_night(home: Path) -> None:
    """The night as it lies on disk, its timeline included."""
    simulation = night()
    lay_down(home, simulation, NIGHT, "yolo11m on drone images")
    store, _ = open_history(home)
    lines = [
        TimelineLine(n, NIGHT, simulation.now_s - len(simulation.messages) + n, "info", text)
        for n, text in enumerate(simulation.messages, 1)
    ]
    store.commit(Commit(timeline=lines))
    store.close()


@contextmanager
def deaf_process() -> Iterator[int]:
    """Stands for supervisor and training: the daemon sends SIGTERM to one that does not stop when it is ordered to."""
    process = subprocess.Popen(["sh", "-c", "trap '' TERM; exec sleep 3600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def live_training(daemon: DaemonProcess, title: str = HOSTILE) -> Iterator[FakeTrainer]:
    """A run; the caller sends its batches."""
    folder = announce(daemon.home, LIVE)
    spec = msgspec.json.decode(folder.spec.read_bytes())
    folder.spec.write_bytes(msgspec.json.encode(spec | {"title": title}))
    daemon.send(RunAnnounced(LIVE))
    with deaf_process() as pid, FakeTrainer(daemon.home, LIVE, 1, "n1", pid) as trainer:
        trainer.allocate(pid, pid)
        daemon.send(GenerationStarted(LIVE, 1, "n1", pid, pid))
        trainer.start()
        trainer.until_seen()
        yield trainer


def healthy_batches(trainer: FakeTrainer, count: int, seed: int = 1) -> None:
    """Batches with the noise of a real training."""
    draw = random.Random(seed)
    for _ in range(count):
        counts = trainer.counts
        trainer.counts = counts = msgspec.structs.replace(counts, batches=counts.batches + 1, steps=counts.steps + 1)
        trainer.send(_noisy(counts, draw))


def _noisy(counts: Counts, draw: random.Random) -> BatchEnded:
    loss = (1.4 + 2 * math.exp(-counts.batches / 150)) * math.exp(draw.gauss(0, 0.05))
    return msgspec.structs.replace(
        batch(counts, 1 + (counts.batches - 1) // BATCHES_PER_EPOCH),
        loss=loss, parts=(0.5 * loss, 0.3 * loss, 0.2 * loss), grad_norm=3.0 * math.exp(draw.gauss(0, 0.2)),
        batch_s=0.1 * math.exp(draw.gauss(0, 0.1)), data_wait_s=0.01 * math.exp(draw.gauss(0, 0.3)),
    )  # fmt: skip
