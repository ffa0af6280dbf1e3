"""A training that comes to a standstill, run as a script: `hanging.py lock|gil|loader|ranks|pauses`, with real hooks.

`ranks` starts a second rank, which takes the lock; the first waits for it, as it would in a collective operation.
`pauses` never hangs: its first batch, its validations and its saves only take longer than the tests' `floor_s`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tests.harness.trainer import BATCHES_PER_EPOCH, batch, training_started
from trainer_hooks.probe import Probe, connect
from trainer_hooks.wire.messages import Counts, PhaseChanged, TrainingEnded

HANG_AT = 60  # batches
BATCH_S = 0.02
PAUSE_S = 4.5


def main() -> None:
    """Train until it hangs."""
    how = sys.argv[1]
    probe = connect(int(os.environ.get("RANK", "0")))
    probe.event(training_started(probe.identity.folder, os.getpid()))
    if how == "pauses":
        train_with_pauses(probe)
        return
    if how == "ranks" and "RANK" not in os.environ:
        other = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.hanging", "lock"], env={**os.environ, "RANK": "1"}
        )
    get = loader() if how == "loader" else pause_for_a_batch
    for number in range(1, HANG_AT + 1):
        get()
        probe.batch(batch(Counts(batches=number, steps=number)))
    print("standing still", flush=True)
    hangs: dict[str, Callable[[], None]] = {
        "lock": wait_for_a_lock_that_nobody_gives_back,
        "gil": call_an_extension_that_never_returns,
        "loader": get,
        "ranks": lambda: wait_for_the_other_ranks(other),
    }
    hangs[how]()


def train_with_pauses(probe: Probe) -> None:
    """Two epochs; every pause is declared, and longer than a hang may be."""
    number = 0
    for epoch in (1, 2):
        probe.event(PhaseChanged(time.time(), epoch, "train"))
        if epoch == 1:
            time.sleep(PAUSE_S)  # the first batch compiles
        for _ in range(BATCHES_PER_EPOCH):
            number += 1
            pause_for_a_batch()
            probe.batch(batch(Counts(batches=number, steps=number), epoch))
        for phase in ("validate", "save"):
            probe.event(PhaseChanged(time.time(), epoch, phase))
            time.sleep(PAUSE_S)
    probe.event(TrainingEnded(time.time(), "finished", "", 2, {}))
    probe.close()


def pause_for_a_batch() -> None:
    """What a batch takes."""
    time.sleep(BATCH_S)


def wait_for_a_lock_that_nobody_gives_back() -> None:
    """As two threads do that wait for each other."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def call_an_extension_that_never_returns() -> None:
    """C code that keeps the interpreter's lock, which PyDLL does and CDLL does not."""
    ctypes.PyDLL(None).pause()


def wait_for_the_other_ranks(other: subprocess.Popen[bytes]) -> None:
    """As a collective operation does."""
    other.wait()


def loader() -> Callable[[], None]:
    """A loader with one worker, whose dataset stops at HANG_AT."""
    from torch.utils.data import DataLoader, Dataset

    class Samples(Dataset[int]):  # type: ignore[misc]
        def __len__(self) -> int:
            return 10 * HANG_AT

        def __getitem__(self, index: int) -> int:
            if index >= HANG_AT:
                read_a_sample_that_never_comes()
            return index

    iterator = iter(DataLoader(Samples(), batch_size=1, num_workers=1, prefetch_factor=2))

    def get() -> None:
        next(iterator)
        pause_for_a_batch()

    return get


def read_a_sample_that_never_comes() -> None:
    """As from a file system that is away."""
    threading.Event().wait()


if __name__ == "__main__":
    main()
