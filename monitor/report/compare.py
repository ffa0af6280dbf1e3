"""Two runs side by side: what differs in what they were given, and in what they did. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from monitor.core.format import count, duration, percent, plural, size, value, when
from monitor.core.state.epochs import totals_of
from monitor.core.state.projection import pace_s
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, TrainingState
from monitor.report import plots
from monitor.report.actions import INCIDENT_HEADER, incident_cells
from monitor.report.overview import LEVELS, state
from monitor.report.report_input import ReportInput
from monitor.report.text import safe, table
from monitor.report.whole import Block
from trainer_hooks.wire.messages import TrainingStarted

Given = dict[str, str]
Row = tuple[str, Callable[[ReportInput], str]]


def blocks(a: ReportInput, b: ReportInput) -> list[Block]:
    """The comparison, as blocks that make a Markdown text or a page."""
    figure = plots.over_each_other(a, b, (_name(a), _name(b)))
    curves = [Block("## Curves", [figure], page_only=True)] if figure else []
    sections = (_in_short, _differences, _epochs, _metrics, _findings, _incidents)
    blocks = [Block("\n".join(lines)) for section in sections if (lines := section(a, b))]
    return [Block(_heading(a, b)), blocks[0], *curves, *blocks[1:]]


def _name(report_input: ReportInput) -> str:
    return report_input.run.spec.title or report_input.run.spec.run


def _heading(a: ReportInput, b: ReportInput) -> str:
    return "\n\n".join([
        f"# Two runs: {safe(_name(a), 80)} and {safe(_name(b), 80)}",
        f"A is run {safe(a.run.spec.run)}, B is run {safe(b.run.spec.run)}; as of {when(max(a.now_s, b.now_s))}.",
    ])  # fmt: skip


# --- numbers --------------------------------------------------------------------------------------------------------


def _in_short(a: ReportInput, b: ReportInput) -> list[str]:
    rows = [[name, read(a), read(b)] for name, read in _ROWS]
    return ["## In numbers", "", *table(["", "A", "B"], rows)]


def _wall(report_input: ReportInput) -> str:
    run = report_input.run
    ended_s = run.ended_s if run.ended_s is not None else report_input.now_s
    return duration(max(ended_s - run.opened_s, 0.0))


def _pace(report_input: ReportInput) -> str:
    pace = pace_s(report_input.training)
    return "-" if pace is None else f"{pace:.3g} s, validation and saving included"


def _batch_time(report_input: ReportInput) -> str:
    counts, total_s = report_input.training.totals.histogram_batch_s, report_input.training.totals.sum_batch_s
    return f"{total_s / sum(counts):.3g} s" if sum(counts) else "-"


def _bad(report_input: ReportInput) -> str:
    counts = totals_of(report_input.training)
    return f"{count(counts.nonfinite_batches)} ({percent(counts.nonfinite_batches / max(counts.batches, 1))})"


def _skipped(report_input: ReportInput) -> str:
    counts = totals_of(report_input.training)
    return count(counts.skipped)


def _memory(report_input: ReportInput) -> str:
    most = [row.reserved_max for row in report_input.training.epochs if row.reserved_max is not None]
    used = [row.allocated_max for row in report_input.training.epochs if row.allocated_max is not None]
    return f"{size(max(most, default=None))} reserved, {size(max(used, default=None))} in use"


def _lost(report_input: ReportInput) -> str:
    discarded = plural(report_input.training.totals.batches_discarded, "batch")
    return f"{discarded} thrown away, {duration(report_input.run.downtime_s)} without training"


_ROWS: tuple[Row, ...] = (
    ("state", lambda report_input: state(report_input.run)),
    ("opened", lambda report_input: when(report_input.run.opened_s)),
    ("wall time", _wall),
    ("generations", lambda report_input: str(report_input.training.generation)),
    ("batches", lambda report_input: count(totals_of(report_input.training).batches)),
    ("not finite", _bad),
    ("steps skipped", _skipped),
    ("pace, a batch", _pace),
    ("time of a batch itself", _batch_time),
    ("GPU memory at most", _memory),
    ("incidents", lambda report_input: str(len(report_input.training.ledger.incidents))),
    ("findings", lambda report_input: count(sum(report_input.training.totals.findings.values()))),
    ("rollbacks", lambda report_input: str(report_input.training.ledger.rollbacks_used)),
    ("lost", _lost),
)


# --- what they were given -------------------------------------------------------------------------------------------


def _differences(a: ReportInput, b: ReportInput) -> list[str]:
    """Settings, versions, machine and policy, as each run began; only what is not the same."""
    kinds = (("setting", _settings), ("version", _versions), ("environment", _environment), ("policy", _policy))
    rows, same = [], 0
    for kind, read in kinds:
        of_a, of_b = read(a.run, a.training), read(b.run, b.training)
        for name in sorted(of_a.keys() | of_b.keys()):
            left, right = of_a.get(name, "not recorded"), of_b.get(name, "not recorded")
            same += left == right
            if left != right:
                rows.append([kind, safe(name), safe(left), safe(right)])
    lines = ["## What differs", ""]
    if not rows:
        return [*lines, f"Nothing: all {count(same)} recorded values are the same."]
    return [*lines, *table(["kind", "name", "A", "B"], rows), "", f"The same in both: {plural(same, 'other value')}."]


def _first(training: TrainingState) -> TrainingStarted | None:
    return training.starts[0] if training.starts else training.started


def _settings(run: RunState, training: TrainingState) -> Given:
    started = _first(training)
    return dict(started.settings) if started else {}


def _versions(run: RunState, training: TrainingState) -> Given:
    started = _first(training)
    return dict(started.versions) if started else {}


def _environment(run: RunState, training: TrainingState) -> Given:
    found = {"command": " ".join(run.spec.argv), "folder": run.spec.cwd, "python": run.spec.interpreter}
    started = _first(training)
    if started is None:
        return found
    return found | {
        "framework": started.framework,
        "device": started.device,
        "ranks": str(started.world_size),
        "epochs": str(started.epochs),
        "batches per epoch": str(started.batches_per_epoch),
        "parameter groups": ", ".join(started.group_names),
        "mixed precision with a scaler": str(started.scaler_enabled),
        "guarded": str(started.guarded),
    }


def _policy(run: RunState, training: TrainingState) -> Given:
    return _flat(json.loads(run.policy)) if run.policy else {}


def _flat(value: Any, path: str = "") -> Given:
    if not isinstance(value, dict):
        return {path: json.dumps(value)}
    return {k: v for name, part in value.items() for k, v in _flat(part, f"{path}.{name}" if path else name).items()}


# --- what they did --------------------------------------------------------------------------------------------------


def _epochs(a: ReportInput, b: ReportInput) -> list[str]:
    """The last pass of each run through each epoch."""
    of_a, of_b = _last_passes(a.training), _last_passes(b.training)
    if not of_a and not of_b:
        return []
    header = ["epoch"] + [
        f"{what} {letter}" for what in ("loss", "fitness", "NaN", "memory", "time") for letter in "AB"
    ]
    rows = []
    for epoch in sorted(of_a.keys() | of_b.keys()):
        pairs = zip(_cells(of_a.get(epoch)), _cells(of_b.get(epoch)), strict=True)
        rows.append([str(epoch), *(cell for pair in pairs for cell in pair)])
    remark = "The loss is the mean over the epoch's finite batches; of a repeated epoch the last pass is shown."
    return ["## Epochs side by side", "", *table(header, rows), "", remark]


def _last_passes(training: TrainingState) -> dict[int, EpochRow]:
    return {row.epoch: row for row in training.epochs}


def _cells(row: EpochRow | None) -> list[str]:
    if row is None:
        return ["-"] * 5
    spent_s = row.ended_s - row.started_s if row.ended_s is not None else None
    return [
        value(row.loss_sum / row.loss_count if row.loss_count else None),
        value(row.fitness),
        count(row.nonfinite),
        size(row.reserved_max),
        "-" if spent_s is None else duration(max(spent_s, 0.0)),
    ]


def _metrics(a: ReportInput, b: ReportInput) -> list[str]:
    """The last metrics of each run and their difference."""
    of_a, of_b = a.training.final_metrics, b.training.final_metrics
    rows = [
        [safe(name), value(left), value(right), value(right - left) if left is not None and right is not None else "-"]
        for name in sorted(of_a.keys() | of_b.keys())
        for left, right in [(of_a.get(name), of_b.get(name))]
    ]
    return ["## Last metrics", "", *table(["metric", "A", "B", "B - A"], rows)] if rows else []


def _findings(a: ReportInput, b: ReportInput) -> list[str]:
    of_a, of_b = a.training.totals.findings, b.training.totals.findings
    levels = {str(severity): word for severity, word in LEVELS.items()}
    rows = [
        [safe(detector), levels.get(level, safe(level)), count(of_a.get(key, 0)), count(of_b.get(key, 0))]
        for key in sorted(of_a.keys() | of_b.keys())
        for detector, _, level in [key.rpartition("/")]
    ]
    title = ["## Findings", ""]
    return [*title, *table(["detector", "severity", "A", "B"], rows)] if rows else [*title, "None in either run."]


def _incidents(a: ReportInput, b: ReportInput) -> list[str]:
    rows = [
        [letter, *incident_cells(incident)]
        for letter, report_input in zip("AB", (a, b), strict=True)
        for incident in report_input.training.ledger.incidents
    ]
    title = ["## Incidents", ""]
    header = ["run", *INCIDENT_HEADER]
    return [*title, *table(header, rows)] if rows else [*title, "None in either run."]
