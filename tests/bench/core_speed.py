"""What one healthy batch costs the core: python -m tests.bench.core_speed [--batches N] [--repeats N].

CPU time of one core that is fed the batches of rank 0, the least of several repeats, since other work on the machine
only adds to it. A plain batch has a loss, three components, a gradient norm and two learning rates; a full one has its
times, memory, sizes and every setting too.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import sys
import time

from monitor.core.drive import RunDriver
from monitor.core.model import Entry, RecordArrived
from monitor.core.policy.settings import Policy
from trainer_hooks.wire.messages import BatchEnded, Counts, TrainingStarted
from trainer_hooks.wire.run_documents import RunSpec

RUN = "run"
PER_EPOCH = 1000
STARTED = TrainingStarted(
    wall_s=0.0, framework="plain", versions={}, settings={}, part_names=("a", "b", "c"), group_names=("g", "h"),
    group_rates=(0.1, 0.1), epochs=100, start_epoch=1, batches_per_epoch=PER_EPOCH, world_size=1, ordinal=1,
    save_dir="", run_folder="", pid=1, device="cpu", arguments_digest="",
)  # fmt: skip


def batches(number: int, *, full: bool) -> list[BatchEnded]:
    """A healthy training, the same one each time."""
    draw, found = random.Random(1), list[BatchEnded]()
    for index in range(number):
        epoch, batch = divmod(index, PER_EPOCH)
        made = BatchEnded(
            0.1 * index, 0.1 * index, epoch + 1, batch, PER_EPOCH, Counts(index + 1, index + 1),
            2.0 * math.exp(0.1 * draw.gauss(0, 1)), (1.0, 1.0, 1.0), 3.0 * math.exp(0.3 * draw.gauss(0, 1)),
            learning_rates=(0.1, 0.1), batch_s=0.1 * math.exp(0.02 * draw.gauss(0, 1)) if full else None,
            data_wait_s=0.01 if full else None, memory_reserved=4_000_000_000 if full else None,
            memory_allocated=3_000_000_000 if full else None, batch_size=16 if full else None,
            momentum=0.9 if full else None, clip_norm=10.0 if full else None, weight_decay=5e-4 if full else None,
            image_size=640 if full else None, instances=80 if full else None, instances_max=20 if full else None,
        )  # fmt: skip
        found.append(made)
    return found


def seconds(records: list[BatchEnded]) -> float:
    """CPU seconds of the core alone: its entries are made before."""
    driver = RunDriver(RUN)
    driver.open(RunSpec(run=RUN, argv=(), cwd="", created_s=0.0, act=False), Policy().model_dump_json())
    driver.start_generation()
    driver.send(STARTED)
    core, first = driver.core, driver.core.fleet.seq + 1
    entries = [Entry(first + i, 0.1 * i, RecordArrived(RUN, 1, 0, one)) for i, one in enumerate(records)]
    gc.collect()
    gc.freeze()
    began_s = time.process_time()
    for entry in entries:
        core.feed(entry)
    took_s = time.process_time() - began_s
    gc.unfreeze()
    return took_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    print("| batches | repeats | a batch, least | the slowest repeat |\n|---|---|---|---|")
    for name, full in (("plain", False), ("full", True)):
        records = batches(given.batches, full=full)
        took = [1e6 * seconds(records) / len(records) for _ in range(given.repeats)]
        print(f"| {name} | {given.repeats} of {len(records)} | {min(took):.1f} us | {max(took):.1f} us |")


if __name__ == "__main__":
    main()
