"""A whole run: its state in a few lines, its settings, its epochs. Pure."""

from __future__ import annotations

from monitor.core.format import count, percent, plural, value, when
from monitor.core.model import Severity
from monitor.core.policy.settings import Policy
from monitor.core.state.fold import totals_now
from monitor.core.state.ongoing_findings import going_on
from monitor.core.state.projection import failure_rate
from monitor.core.state.run import RunState
from monitor.core.summary import shown_incident, summary_of
from monitor.core.summary.time_cost import batches_left
from monitor.report import cost
from monitor.report.report_input import ReportInput
from monitor.report.settings_section import SHOWN
from monitor.report.text import safe, table
from monitor.report.top_lines import top_lines
from monitor.report.what_happened import epoch_table

SETTINGS_MAX = 40  # of a framework whose settings have other names than SHOWN
METRICS_MAX = 24
LEVELS = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}


def heading(report_input: ReportInput) -> list[str]:
    """Which run this is, and as of when."""
    run = report_input.run
    times = f"opened {when(run.opened_s)} · as of {when(report_input.now_s)}"
    return [
        f"# Run {safe(run.spec.title or run.spec.run)}",
        "",
        f"**{state(run).capitalize()}** · run {safe(run.spec.run)} · generation {run.generation} · {times}",
    ]


def state(run: RunState) -> str:
    """The state of the run in a word or two."""
    if run.ended:
        return safe(run.ended)
    if not run.alive:
        return "gone" if run.generation else "starting"
    if run.training is None:
        return "starting"
    return safe(run.phase) if run.phase not in {"", "idle", "train"} else "training"


def top(report_input: ReportInput) -> list[str]:
    """The summary of the run: of its live or latest incident, where there is one."""
    run = report_input.run
    return top_lines(summary_of(run, shown_incident(run), report_input.now_s))


def in_numbers(report_input: ReportInput) -> list[str]:
    """Where it stands, how much went wrong, what was done."""
    run = report_input.run
    lost = f"{plural(run.totals.batches_discarded, 'batch')} thrown away"
    return [
        "## The run in numbers",
        "",
        *([f"- Where: {_where(run)}."] if run.position and run.training else []),
        *([f"- End: {_end(run)}."] if run.ended else []),
        f"- Batches: {_batches(run)}.",
        f"- Findings: {_findings(run)}.",
        f"- Incidents: {_incidents(run)}.",
        f"- Rollbacks: {run.rollbacks_used} of {_budget(run)} allowed, {lost}.",
        *([f"- Last metrics: {_metrics(run.final_metrics)}."] if run.final_metrics else []),
    ]


def _batches(run: RunState) -> str:
    counts = totals_now(run)
    rate = percent(failure_rate(counts.nonfinite_batches, counts.batches))
    skipped = plural(counts.skipped_by_guard + counts.skipped_by_scaler, "step")
    where = plural(run.generation, "generation")
    return (
        f"{count(counts.batches)} in {where}, {count(counts.nonfinite_batches)} not finite ({rate}), {skipped} skipped"
    )


def _where(run: RunState) -> str:
    at, training = run.position, run.training
    assert at is not None
    assert training is not None
    return f"epoch {at.epoch} of {training.epochs}, batch {count(at.batch + 1)} of {count(training.batches_per_epoch)}"


def _end(run: RunState) -> str:
    on = f" on {when(run.ended_s)}" if run.ended_s is not None else ""
    return f"{safe(run.ended)}{on}{': ' + safe(run.ended_detail) if run.ended_detail else ''}"


def _findings(run: RunState) -> str:
    told = {s: sum(n for key, n in run.totals.findings.items() if key.endswith(f"/{s}")) for s in LEVELS}
    critical, warnings, notes = told.values()
    words = (f"{count(critical)} critical", plural(warnings, "warning"), f"{count(notes)} info")
    said = ", ".join(word for word, number in zip(words, told.values(), strict=True) if number)
    now = ", ".join(dict.fromkeys(safe(finding.detector) for finding in going_on(run)))
    return (said or "none") + (f"; going on now: {now}" if now else "")


def _incidents(run: RunState) -> str:
    return ", ".join(f"{i.number} {i.state.value.replace('_', ' ')}" for i in run.incidents) or "none"


def _budget(run: RunState) -> int:
    return (Policy.model_validate_json(run.policy) if run.policy else Policy()).rollback.budget


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{safe(name)} {value(number)}" for name, number in sorted(metrics.items())[:METRICS_MAX])


def settings(report_input: ReportInput) -> list[str]:
    """The settings of the first generation, and what a later one had instead."""
    trainings = report_input.run.trainings or ([report_input.run.training] if report_input.run.training else [])
    if not trainings:
        return []
    first, last = trainings[0], trainings[-1]
    names = [name for name in SHOWN if name in first.settings] or sorted(first.settings)[:SETTINGS_MAX]
    rows = [
        [safe(name), safe(was), safe(now) if now != was else ""]
        for name in names
        for was, now in [(first.settings[name], last.settings.get(name, "not recorded"))]
    ]
    versions = ", ".join(f"{safe(name)} {safe(number)}" for name, number in sorted(last.versions.items()))
    return [
        "## Settings",
        "",
        *table(["setting", "at the start", "in the last generation, where it differs"], rows),
        "",
        f"Versions: {versions or 'not recorded'}.",
        f"Device: {safe(last.device) or 'not recorded'}, {plural(last.world_size, 'rank')}.",
    ]


def epochs(report_input: ReportInput) -> list[str]:
    """Every pass through an epoch; of very many the first and the last."""
    return epoch_table(report_input.run, "## Epochs", report_input.run.epochs)


def end(report_input: ReportInput) -> list[str]:
    """When it ends, and whether the deadline is kept."""
    run = report_input.run
    return cost.projected_end(run, batches_left(run, run.incident), report_input.now_s)
