"""Collects what the demo's night left behind. An edge file: reads the run folder, the daemon's API, metrics and weights."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from monitor.demo.receiver import AlertReceiver
from monitor.demo.scene import Scene
from monitor.model import Incident
from monitor.vault.verify import Examination, examine
from trainer_hooks.wire import runfolder
from trainer_hooks.wire.messages import PlanApplied
from trainer_hooks.wire.runfolder import Plan, Receipt, RunFolderError

ALERTS = ("incident_opened", "rolled_back", "resolved")
ALERTS_WAIT_S = 10.0  # delivery is asynchronous; the first try takes milliseconds, a second one a second


class EpochResult(NamedTuple):
    """One row of results.csv."""

    epoch: int
    map50: float  # NaN where the cell is no number


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at."""

    exit_code: int
    passes: int  # batches that passed the injected multiplication
    overflows: int  # those of them that became infinite
    plan: Plan | None
    receipt: Receipt | None
    applied: tuple[PlanApplied, ...]
    verdicts: dict[str, str]  # by digest
    incident: Incident | None
    results: tuple[EpochResult, ...]
    weights: dict[str, Examination]  # by file name
    alerts: tuple[str, ...]
    metrics: dict[tuple[str, frozenset[tuple[str, str]]], float]
    report_path: Path
    report: str

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that carry `labels`; 0 where there are none."""
        wanted = labels.items()
        return sum(value for (known, carried), value in self.metrics.items() if known == name and wanted <= carried)


class Passes(NamedTuple):
    """What the injected fault did, by its own account."""

    overflow: int
    finite: int


def read_passes(scene: Scene) -> Passes:
    """How many batches passed the injected multiplication, and what became of them."""
    if not scene.passes.exists():
        return Passes(0, 0)
    outcomes = [line.rpartition(",")[2] for line in scene.passes.read_text().splitlines()]
    return Passes(outcomes.count("overflow"), outcomes.count("finite"))


def read_results(scene: Scene) -> tuple[EpochResult, ...]:
    """The rows of Ultralytics' results.csv, in their order; empty where it is missing."""
    path = scene.training / "results.csv"
    if not path.exists():
        return ()
    with path.open(newline="") as file:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    return tuple(EpochResult(int(row["epoch"]), _number(row.get("metrics/mAP50(B)", ""))) for row in rows)


def examine_weights(scene: Scene) -> dict[str, Examination]:
    """What the vault's verifier says of the files that the training leaves, by file name."""
    return {name: examine(scene.training / "weights" / name, None) for name in ("last.pt", "best.pt")}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
