"""What a snapshot costs a training: its pause, the writing of its file, and what is kept. Prints a table.

    python -m tests.bench.snapshots --device cpu --millions 3 25 100 --times 5

The way of the hooks: the tree of the state, its copy in host memory, and a thread that writes the file while training
goes on. The state is a plain module, its average, the optimizer and the random generators. On CUDA the copy is
asynchronous: the pause is what the commands take to issue, and the column after it says when the copy was complete.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.bench.machine import loaded
from trainer_hooks.copying import Copy
from trainer_hooks.snapshots import HostCopy, Tree, file, model_tensors, optimizer_tree, random_tree
from trainer_hooks.snapshots.due import SHARE_MAX, has_room

WIDTH = 500  # a layer has 250,500 parameters, so that the number of tensors is that of a detector of the size
BATCH = 8
EVERY_S = 600.0  # the policy's default
BEFORE = 10  # batches whose median is the usual one
OPTIMIZERS = ("SGD", "AdamW")
HEADS = (
    "parameters", "optimizer", "state", "pause, first", "pause, kept buffers", "its CPU", "share at 10 min", "arrived",
    "file written in", "file", "batch", "batch while writing",
)  # fmt: skip


@dataclass
class Training:
    """A training of a plain module of so many million parameters."""

    millions: float
    optimizer_name: str
    device: torch.device
    batch_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        count = max(1, round(self.millions * 1e6 / (WIDTH * WIDTH + WIDTH)))
        layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(count)]
        self.model = torch.nn.Sequential(*layers).to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        settings: dict[str, Any] = {"momentum": 0.9} if self.optimizer_name == "SGD" else {}
        self.optimizer = getattr(torch.optim, self.optimizer_name)(self.model.parameters(), lr=1e-6, **settings)
        self.samples = torch.rand(BATCH, WIDTH, device=self.device)

    @property
    def parameters(self) -> int:
        return sum(each.numel() for each in self.model.parameters())

    def batch(self) -> float:
        """Train one batch; its seconds, until the device has done it."""
        began_s = time.perf_counter()
        self.optimizer.zero_grad()
        self.model(self.samples).square().mean().backward()
        self.optimizer.step()
        self._wait()
        return time.perf_counter() - began_s

    def tree(self) -> Tree:
        return {
            "model": model_tensors(self.model),
            "average": model_tensors(self.average),
            "optimizer": optimizer_tree(self.optimizer),
            "random": random_tree(),
        }

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Measured:
    """Of one training; seconds and bytes."""

    state: int = 0
    pauses: list[float] = field(default_factory=list)  # the first one with fresh buffers
    cpu: list[float] = field(default_factory=list)  # of each pause: what it takes where nobody else wants the core
    arrived: list[float] = field(default_factory=list)  # from the beginning of the pause until the copy is complete
    writing: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)  # batches
    during: list[float] = field(default_factory=list)  # batches while the file is written
    file: int = 0


def measured(training: Training, folder: Path, times: int) -> Measured:
    """Take so many snapshots after the first one, each after a few batches."""
    found, kept = Measured(), HostCopy()
    training.batch()
    for number in range(times + 1):
        found.before += [training.batch() for _ in range(BEFORE)]
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        tree = training.tree()
        found.state = file.size_of(tree)
        if not has_room(found.state):
            raise SystemExit(f"the host memory has no room for a state of {found.state} bytes")
        taken = kept.take(tree)
        found.pauses.append(time.perf_counter() - began_s)
        found.cpu.append(time.thread_time() - cpu_s)
        target = folder / f"snapshot-{number}.pt"
        written: list[Copy] = []

        def write(taken: Tree = taken, target: Path = target, began_s: float = began_s, done: Any = written) -> None:
            kept.arrived()
            arrived_s = time.perf_counter()
            found.arrived.append(arrived_s - began_s)
            done.append(file.write(taken, target, found.state))
            found.writing.append(time.perf_counter() - arrived_s)

        helper = threading.Thread(target=write)
        helper.start()
        while helper.is_alive():
            found.during.append(training.batch())
        helper.join()
        found.file = written[0].size
        target.unlink()
    return found


def row(training: Training, found: Measured) -> tuple[str, ...]:
    """Of the table."""
    first, *kept = found.pauses
    middle = statistics.median(kept)
    every_s = max(EVERY_S, middle / SHARE_MAX)
    return (
        f"{training.parameters / 1e6:.1f} M",
        training.optimizer_name,
        _mib(found.state),
        _ms(first),
        _ms(middle),
        _ms(statistics.median(found.cpu[1:])),
        f"{middle / every_s:.4%}",
        _ms(statistics.median(found.arrived)),
        f"{statistics.median(found.writing):.2f} s",
        _mib(found.file),
        _ms(statistics.median(found.before)),
        _ms(statistics.median(found.during)),
    )


def rows(arguments: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """One training after the other."""
    for millions, name in itertools.product(arguments.millions, OPTIMIZERS):
        training = Training(millions, name, torch.device(arguments.device))
        with tempfile.TemporaryDirectory(prefix="tw-", dir=arguments.folder) as folder:
            yield row(training, measured(training, Path(folder), arguments.times))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def main() -> None:
    """Print the table, and what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--millions", type=float, nargs="+", default=[3.0, 25.0, 100.0])
    parser.add_argument("--times", type=int, default=5, help="snapshots with kept buffers")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are written; a temporary folder")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{device.type}: {name}; torch {torch.__version__}, Python {platform.python_version()}; {loaded()}\n")
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}", flush=True)
    for each in rows(arguments):
        print(f"| {' | '.join(each)} |", flush=True)
    print("\nKept: one copy of the state in host memory, and the newest 3 clean files (`snapshots.keep`).")


if __name__ == "__main__":
    main()
