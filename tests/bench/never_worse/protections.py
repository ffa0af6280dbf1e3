"""The columns of the table: one training of a row under each protection, as a user would start it."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.harness.night_run import CONSOLE, ROOT, environment_of_home, fresh_home
from trainer_hooks.wire.enums import StrEnum

TRAINING_MAX_S = 420.0
GUARD_POLICY = "version: 1\nact: false\n"
WEIGHTS_MISSING = "none"


class Protection(StrEnum):
    """What stands between a fault and the training."""

    NONE = "no protection"
    GUARD = "guard that only skips"
    FRAMEWORK = "Ultralytics alone"
    DEFAULT = "trainwarden"
    ROLLBACK = "trainwarden `rollback`"


OURS = (Protection.DEFAULT, Protection.ROLLBACK)


class Result(msgspec.Struct, frozen=True):
    """How one training ended."""

    row: str
    protection: Protection
    seed: int
    last_map: float | None  # mAP50 of the last epoch in results.csv; None: there is none
    best_map: float | None  # of the best
    batches: int  # trained, all generations together
    seconds: float
    code: int
    fired: int  # batches or steps with the fault
    epochs: int  # rows of results.csv
    table: str  # digest of results.csv without its times
    weights: str  # digest of last.pt


@dataclass(frozen=True)
class Place:
    """What all trainings share, and where one writes."""

    lab: Path
    folder: Path


def train(place: Place, row: str, protection: Protection, seed: int) -> Result:
    """Run it to its end, whatever that is."""
    place.folder.mkdir(parents=True)
    script = [sys.executable, "-m", "tests.bench.never_worse.training", str(place.lab), str(place.folder)]
    script += [row, str(seed), *(["--no-recovery"] if protection is Protection.NONE else [])]
    with fresh_home() as home, (place.folder / "log.txt").open("wb") as log:
        began_s = time.monotonic()
        done = subprocess.run(
            [*_supervised(protection, home), *script],
            env=environment_of_home(home, PYTHONPATH=str(ROOT)),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=TRAINING_MAX_S,
        )
        seconds = time.monotonic() - began_s
    return _result(place.folder, row, protection, seed, seconds, done.returncode)


def _supervised(protection: Protection, home: Path) -> list[str]:
    if protection in (Protection.NONE, Protection.FRAMEWORK):
        return []
    policy = {Protection.DEFAULT: "default", Protection.ROLLBACK: "rollback"}.get(protection)
    if policy is None:
        policy = str(home / "guard.yaml")
        Path(policy).write_text(GUARD_POLICY)
    return [*CONSOLE, "run", "--run", "run", "--policy", policy, "--port", "0", "--"]


def _result(folder: Path, row: str, protection: Protection, seed: int, seconds: float, code: int) -> Result:
    results = folder / "run" / "results.csv"
    rows = list(csv.DictReader(results.open())) if results.exists() else []
    maps = [float(epoch["metrics/mAP50(B)"]) for epoch in rows]
    values = repr([[value for name, value in epoch.items() if name != "time"] for epoch in rows])
    return Result(
        row=row,
        protection=protection,
        seed=seed,
        last_map=maps[-1] if maps else None,
        best_map=max(maps, default=None),
        batches=_length(folder / "batches.txt"),
        seconds=seconds,
        code=code,
        fired=(folder / "fired.csv").read_bytes().count(b"\n") if (folder / "fired.csv").exists() else 0,
        epochs=len(rows),
        table=hashlib.sha256(values.encode()).hexdigest()[:12],
        weights=_weights(folder / "run" / "weights" / "last.pt"),
    )


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _weights(checkpoint: Path) -> str:
    """A digest of every number of the model. The file's own bytes hold a date."""
    if not checkpoint.exists():
        return WEIGHTS_MISSING
    from ultralytics.utils.patches import torch_load

    loaded = torch_load(checkpoint, map_location="cpu")
    digest = hashlib.sha256()
    for name, value in sorted((loaded["ema"] or loaded["model"]).float().state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:12]
