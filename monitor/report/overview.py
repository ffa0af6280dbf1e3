"""A whole run: its state in a few lines, its settings, its epochs. Pure."""

from __future__ import annotations

from monitor.core.format import count, percent, plural, value, when
from monitor.core.model import Severity
from monitor.core.policy.settings import Policy
from monitor.core.state.epochs import totals_of
from monitor.core.state.finding_log import going_on
from monitor.core.state.projection import failure_rate
from monitor.core.state.run import RunState, TrainingState
from monitor.core.state.status import status_of, training_status_of
from monitor.core.summary import shown_incident, summary_of
from monitor.core.summary.time_cost import batches_left
from monitor.report import cost
from monitor.report.report_input import ReportInput
from monitor.report.settings_section import shown_settings
from monitor.report.text import safe, table
from monitor.report.top_lines import top_lines
from monitor.report.what_happened import epoch_table

METRICS_MAX = 24  # in one line, by name
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
    return safe(status_of(run))


def trainings(report_input: ReportInput) -> list[str]:
    """The trainings of the run; nothing where there is one. The rest of the report is about one of them."""
    run = report_input.run
    seen = [training for _, training in sorted(run.trainings.items()) if training.seen]
    if len(seen) < 2:
        return []
    rows = []
    for training in seen:
        counts = totals_of(training)
        epoch = str(training.epochs[-1].epoch) if training.epochs else ""
        numbers = ", ".join(str(incident.number) for incident in training.ledger.incidents)
        cells = [str(training.number), safe(training_status_of(run, training)), epoch]
        rows.append([*cells, count(counts.batches), count(counts.nonfinite_batches), numbers])
    shown = f"This report is about training {report_input.training.number}; `--training N` shows another one."
    return [
        "## Trainings",
        "",
        *table(["training", "state", "epoch", "batches", "NaN batches", "incidents"], rows),
        "",
        shown,
    ]


def top(report_input: ReportInput) -> list[str]:
    """The summary of the run: of its live or latest incident, where there is one."""
    run = report_input.run
    training = report_input.training
    return top_lines(summary_of(run, training, shown_incident(run, training), report_input.now_s))


def in_numbers(report_input: ReportInput) -> list[str]:
    """Where it stands, how much went wrong, what was done."""
    run = report_input.run
    lost = f"{plural(report_input.training.totals.batches_discarded, 'batch')} thrown away"
    return [
        "## The run in numbers",
        "",
        *(
            [f"- Where: {_where(report_input.training)}."]
            if report_input.training.position and report_input.training.started
            else []
        ),
        *([f"- End: {_end(run)}."] if run.ended else []),
        f"- Batches: {_batches(report_input.training)}.",
        f"- Findings: {_findings(run, report_input.training)}.",
        f"- Incidents: {_incidents(report_input.training)}.",
        f"- Rollbacks: {report_input.training.ledger.rollbacks_used} of {_budget(run)} allowed, {lost}.",
        *(
            [f"- Last metrics: {_metrics(report_input.training.final_metrics)}."]
            if report_input.training.final_metrics
            else []
        ),
    ]


def _batches(training: TrainingState) -> str:
    counts = totals_of(training)
    rate = percent(failure_rate(counts.nonfinite_batches, counts.batches))
    skipped = plural(counts.skipped, "step")
    where = plural(training.generation, "generation")
    return (
        f"{count(counts.batches)} in {where}, {count(counts.nonfinite_batches)} not finite ({rate}), {skipped} skipped"
    )


def _where(training: TrainingState) -> str:
    at, started = training.position, training.started
    assert at is not None
    assert started is not None
    of = f" of {count(started.batches_per_epoch)}" if started.batches_per_epoch else ""
    return f"epoch {at.epoch} of {started.epochs}, batch {count(at.batch)}{of}"


def _end(run: RunState) -> str:
    on = f" on {when(run.ended_s)}" if run.ended_s is not None else ""
    return f"{safe(run.ended)}{on}{': ' + safe(run.ended_detail) if run.ended_detail else ''}"


def _findings(run: RunState, training: TrainingState) -> str:
    counts = {s: sum(n for key, n in training.totals.findings.items() if key.endswith(f"/{s}")) for s in LEVELS}
    critical, warnings, infos = counts.values()
    texts = (f"{count(critical)} critical", plural(warnings, "warning"), f"{count(infos)} info")
    shown = ", ".join(word for word, number in zip(texts, counts.values(), strict=True) if number)
    now = ", ".join(dict.fromkeys(safe(finding.detector) for finding in going_on(run, training)))
    return (shown or "none") + (f"; lately: {now}" if now else "")


def _incidents(training: TrainingState) -> str:
    return ", ".join(f"{i.number} {i.state.value.replace('_', ' ')}" for i in training.ledger.incidents) or "none"


def _budget(run: RunState) -> int:
    return (Policy.model_validate_json(run.policy) if run.policy else Policy()).rollback.budget


def _metrics(metrics: dict[str, float]) -> str:
    shown = [f"{safe(name)} {value(number)}" for name, number in sorted(metrics.items())[:METRICS_MAX]]
    more = len(metrics) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def settings(report_input: ReportInput) -> list[str]:
    """The settings of the first generation, and what a later one had instead."""
    trainings = report_input.training.starts or (
        [report_input.training.started] if report_input.training.started else []
    )
    if not trainings:
        return []
    first, last = trainings[0], trainings[-1]
    names = shown_settings(first)
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
    return epoch_table(report_input.training, "## Epochs", report_input.training.epochs)


def end(report_input: ReportInput) -> list[str]:
    """When it ends, and whether the deadline is kept."""
    run = report_input.run
    return cost.projected_end(
        run,
        report_input.training,
        batches_left(report_input.training, report_input.training.incident),
        report_input.now_s,
    )
