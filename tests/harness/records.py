"""Records as a training sends them, for tests that care about few of their fields."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.identity import Identity
from trainer_hooks.wire.messages import BatchEnded, Counts, Order, PhaseChanged
from trainer_hooks.wire.runfolder import RunFolder


def batch(index: int = 0) -> BatchEnded:
    return BatchEnded(1.0, 1.0, 1, index, 41_163, Counts(batches=index + 1), loss=1.5, parts=(0.5, 0.5, 0.5))


def phase(name: str = "train") -> PhaseChanged:
    return PhaseChanged(1.0, 1, name)


def identity(root: Path, *, run: str = "night", generation: int = 1, rank: int = 0) -> Identity:
    """One rank of a run whose folder lies under `root`."""
    return Identity(run, RunFolder(root / run), generation, "nonce", rank, True, None)


def order(id_: str = "o1", *, run: str = "night", generation: int = 1, rank: int = 0, plan: str = "") -> Order:
    return Order(id_, run, generation, rank, "stop", plan, "because a test says so")
