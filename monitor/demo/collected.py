"""Collects what the demo's night left behind. An edge file: reads files, asks the daemon and the receiver."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from monitor.client.http import Client, ClientError, run_path
from monitor.core.model import AlertKind
from monitor.daemon.api.snapshots import CheckpointLine, IncidentSummary
from monitor.demo.receiver import AlertReceiver
from monitor.demo.scene import RUN, Scene
from monitor.vault.verify import Examination, examine
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.words import PlanKind

ALERTS = (AlertKind.INCIDENT_OPENED, AlertKind.ROLLED_BACK, AlertKind.RESOLVED)
ALERTS_WAIT_S = 10.0  # delivery is asynchronous; the first try takes milliseconds, a second one a second
Document = TypeVar("Document", Plan, Receipt)


class EpochResult(NamedTuple):
    """One row of results.csv."""

    epoch: int
    map50: float  # NaN where the cell is not a number


class Passes(NamedTuple):
    """What the injected fault did, by its own report_input."""

    overflow: int
    finite: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the daemon says after the run."""

    silence: str = ""  # why it did not answer; empty: it answered
    incident: IncidentSummary | None = None
    checkpoints: tuple[CheckpointLine, ...] = ()
    metrics: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that carry `labels`; 0 where there are none."""
        wanted = labels.items()
        return sum(value for (known, carried), value in self.metrics.items() if known == name and wanted <= carried)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the checks look at."""

    exit_code: int
    passes: Passes
    plan: Plan | None
    receipt: Receipt | None
    answers: Answers
    results: tuple[EpochResult, ...]
    weights: dict[str, Examination]  # by file name
    alerts: tuple[str, ...]
    report_path: Path
    report: str
    alerts_refused: int = 0  # posts to the webhook that were too long, or no alerts


def gather(scene: Scene, exit_code: int, receiver: AlertReceiver) -> Evidence:
    """Everything, after the run has ended and while its daemon is still there."""
    alerts = receiver.kinds(ALERTS, ALERTS_WAIT_S)
    plan = _plan(scene)
    receipt = _document(scene.run_folder.receipt(plan.order), Receipt) if plan else None
    report = scene.run_folder.reports / "1.md"
    return Evidence(
        exit_code=exit_code,
        passes=read_passes(scene),
        plan=plan,
        receipt=receipt,
        answers=ask_daemon(scene),
        results=read_results(scene),
        weights={name: examine(scene.training / "weights" / name, None) for name in ("last.pt", "best.pt")},
        alerts=alerts,
        report_path=report,
        report=report.read_text(encoding="utf-8") if report.exists() else "",
        alerts_refused=receiver.refused,
    )


def ask_daemon(scene: Scene) -> Answers:
    """What the daemon says of the run; where it does not answer, why."""
    try:
        with Client(scene.control_socket) as client:
            incidents = client.get(run_path(RUN, "incidents"), list[IncidentSummary])
            return Answers(
                incident=incidents[0] if incidents else None,
                checkpoints=tuple(client.get(run_path(RUN, "checkpoints"), list[CheckpointLine])),
                metrics=_samples(client.text("/metrics")),
            )
    except ClientError as error:
        return Answers(silence=str(error))


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


def _plan(scene: Scene) -> Plan | None:
    """The plan of the rollback, in the process or for the next generation."""
    paths = [*sorted(scene.run_folder.root.glob("adjust-*.json")), scene.run_folder.plan(2)]
    plans = [plan for path in paths if (plan := _document(path, Plan)) is not None]
    return next((plan for plan in plans if plan.kind == PlanKind.ROLLBACK), None)


def _document(path: Path, kind: type[Document]) -> Document | None:
    try:
        return document_io.read(path, kind)
    except RunFolderError:  # the check that needs it says that there is none
        return None


def _samples(exposition: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
