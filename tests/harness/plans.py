"""Plans and orders for tests: strengthened settings for a tiny SGD training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from trainer_hooks.wire import document_io
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Checkpoint, GroupSettings, Plan, Settings

RATE_MAX_OF_BIAS = 0.003


def settings(names: tuple[str, ...] = ("weight", "bn", "bias"), **changes: Any) -> Settings:
    """Half the learning rate of the lab, all else as on the night of the design, with a ramp of 12 batches.

    `names` are the parameter groups in their order, which is another in older releases of Ultralytics.
    """
    groups = {
        "weight": GroupSettings(name="weight", base_rate=0.005, rate_max=None, weight_decay=0.001),
        "bn": GroupSettings(name="bn", base_rate=0.005, rate_max=None, weight_decay=0.0),
        "bias": GroupSettings(name="bias", base_rate=0.005, rate_max=RATE_MAX_OF_BIAS, weight_decay=0.0),
    }
    values: dict[str, Any] = {
        "groups": tuple(groups[name] for name in names),
        "clip_norm": 5.0,
        "momentum": 0.85,
        "ramp_batches": 12,
        "warmup_epochs": 6.0,
        "learning_rate": 0.005,
        "weight_decay": 0.001,
    }
    return Settings(**values | changes)


def plan(**changes: Any) -> Plan:
    """A rollback for the first training of a process to the end of epoch 1; `changes` replace any field."""
    values: dict[str, Any] = {
        "id": "plan-1",
        "run": "r",
        "generation": 2,
        "kind": "rollback",
        "order": "order-1",
        "incident": "r-1",
        "reason": "test",
        "ordinal": 1,
        "arguments_digest": "",
        "save_dir": "",
        "checkpoint": None,
        "best": None,
        "start_epoch": 2,
        "settings": settings(),
        "changes": (),
        "seed_offset": 1000,
        "onset_samples": (),
        "grace_s": 30.0,
        "written_s": 0.0,
    }
    return Plan(**values | changes)


def checkpoint(folder: Path, data: bytes, epoch: int = 1) -> Checkpoint:
    """The bytes as a file of their own, outside of the run."""
    path = folder / "clean.pt"
    path.write_bytes(data)
    return Checkpoint(path=str(path), digest=hashlib.sha256(data).hexdigest(), epoch=epoch)


def write(folder: Path, document: Plan, name: str = "plan-2.json") -> Path:
    """The plan in a file; its path."""
    path = folder / name
    document_io.write(path, document)
    return path


def order(kind: str, name: str = "", number: int = 1) -> Order:
    """An order for rank 0 of generation 1."""
    return Order(f"order-{number}", "r", 1, 0, kind, name, "test")
