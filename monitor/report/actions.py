"""A whole run: what was found, which incidents came of it, what was ordered, and what it cost. Pure."""

from __future__ import annotations

from monitor.core.format import batch_at, count, duration, percent, plural, saved_place, value, when
from monitor.core.model import ActionKind, Family, Finding, Incident, IncidentState, Position
from monitor.core.policy.texts import onset_of, order_in_words
from monitor.core.state.projection import pace_s
from monitor.core.state.run import TrainingState
from monitor.report.incident_records import annotations_of, checkpoint_table
from monitor.report.overview import LEVELS
from monitor.report.report_input import ONSETS_MAX, ReportInput
from monitor.report.text import safe, table

IN_WORDS = {  # done, and begun
    ActionKind.GO_ON: ("training goes on", "training goes on"),
    ActionKind.ADJUST: ("settings changed in place", "changing settings in place"),
    ActionKind.UNDO: ("settings put back in place", "putting settings back in place"),
    ActionKind.ROLLBACK: ("rolled back", "rolling back"),
    ActionKind.STOP: ("ordered to stop for good", "ordered to stop for good"),
    ActionKind.NONE: ("only watched", "only watched"),
    ActionKind.WATCH: ("only watched", "only watched"),
}


def in_words(incident: Incident) -> str:
    """What was done about an incident, or is being done, in a few words."""
    begun = incident.state is IncidentState.MITIGATING
    if incident.action.kind == ActionKind.ROLLBACK and incident.family == Family.CRASH:
        return "starting again" if begun else "started again"
    found = IN_WORDS.get(incident.action.kind)
    return found[begun] if found else safe(incident.action.kind)


INCIDENT_HEADER = ["no.", "family", "state", "began at", "opened", "what was done", "outcome"]


def findings(report_input: ReportInput) -> list[str]:
    """What detectors found, once a streak: findings that opened an incident, and the others."""
    training = report_input.training
    if not training.findings:
        return ["## Findings", "", "None: no detector found anything."]
    header = ["severity", "detector", "seen at", "since", "rank", "value", "limit", "what it found"]
    lines = ["## Findings", "", *table(header, [_finding_cells(finding) for finding in training.findings])]
    kept, total = len(training.findings), sum(training.totals.findings.values())
    return [*lines, "", f"The last {count(kept)} of {count(total)}."] if total > kept else lines


def _finding_cells(finding: Finding) -> list[str]:
    return [
        LEVELS[finding.severity],
        safe(finding.detector),
        at(finding.at),
        at(finding.since),
        str(finding.rank),
        value(finding.value),
        value(finding.limit),
        safe(finding.summary, 600),
    ]


def at(position: Position) -> str:
    """Epoch and batch, with the generation where it is not the first."""
    later = f", generation {position.generation}" if position.generation > 1 else ""
    return f"{batch_at(position.epoch, position.batch)}{later}" if position.count else f"before the first batch{later}"


def incidents(report_input: ReportInput) -> list[str]:
    """Every incident in a line."""
    training = report_input.training
    if not training.ledger.incidents:
        return ["## Incidents", "", "None."]
    lines = [
        "## Incidents",
        "",
        *table(INCIDENT_HEADER, [incident_cells(incident) for incident in training.ledger.incidents]),
    ]
    if len(training.ledger.incidents) > ONSETS_MAX:
        lines += ["", f"The latest {ONSETS_MAX} are described in full below."]
    return lines


def incident_cells(incident: Incident) -> list[str]:
    """An incident in a line, below INCIDENT_HEADER."""
    return [
        str(incident.number),
        safe(incident.family),
        f"**{incident.state.value.replace('_', ' ')}**",
        at(onset_of(incident)),
        when(incident.opened_s),
        in_words(incident),
        safe(incident.outcome) or "-",
    ]


def orders(report_input: ReportInput) -> list[str]:
    """What the training was ordered to do, and what it did."""
    training = report_input.training
    acted = [incident for incident in training.ledger.incidents if incident.action.kind]
    if not acted and not training.ledger.counters.orders:
        return []
    lines = ["## Orders and rollbacks", ""]
    if acted:
        header = ["incident", "what was done", "carried out at", "back to", "thrown away", "time without training"]
        lines += [*table(header, [_order_cells(incident) for incident in acted]), ""]
    answered = training.ledger.counters.orders
    answers = [key.partition("/") for key in answered]
    lines += [f"- Orders to {safe(order_in_words(kind))}: {count(answered[f'{kind}/{outcome}'])} {safe(outcome)}."
              for kind, _, outcome in answers]  # fmt: skip
    return [*lines, *_read_back(training)] if answers or training.applied else lines[:-1]


def _order_cells(incident: Incident) -> list[str]:
    action, totals = incident.action, incident.totals
    target = action.plan.target if action.plan else None
    return [
        str(incident.number),
        in_words(incident),
        at(action.left_at) if action.left_at else "-",
        saved_place(*target.holds).removeprefix("the ") if target else "-",
        plural(totals.batches_discarded, "batch"),
        duration(totals.downtime_s) if totals.downtime_s else "-",
    ]


def _read_back(training: TrainingState) -> list[str]:
    return [
        f"- Generation {generation}, read back at the {safe(applied.when)}: "
        + ("; ".join(safe(sentence) for sentence in applied.mismatches) or "every setting is as the plan says")
        + "."
        for generation, applied in training.applied
    ]


def checkpoints(report_input: ReportInput) -> list[str]:
    """Which checkpoints there are, and which of them may be trusted."""
    return checkpoint_table(
        report_input.run,
        report_input.training,
        annotations_of(report_input.training, report_input.training.ledger.incidents),
    )


def time_lost(report_input: ReportInput) -> list[str]:
    """What trouble cost in all: batches trained for nothing, and time stood still."""
    run, pace = report_input.run, pace_s(report_input.training)
    wall_s = (run.ended_s if run.ended_s is not None else report_input.now_s) - run.opened_s
    lines = ["## Time lost", ""]
    discarded = report_input.training.totals.batches_discarded
    if not discarded and not run.downtime_s:
        return [*lines, f"None of {duration(max(wall_s, 0.0))}: no trained batch was thrown away."]
    if pace is None and discarded:
        stood = f"{duration(run.downtime_s)} without training, and " if run.downtime_s else ""
        return [
            *lines,
            f"{stood}{plural(discarded, 'batch')} thrown away; their time is not known.",
        ]
    pace = pace or 0.0
    lost_s = discarded * pace + run.downtime_s
    trained = f"{plural(discarded, 'batch')} x {pace:.3g} s = {duration(discarded * pace)}"
    share = f" ({percent(min(lost_s / wall_s, 1.0))})" if wall_s > 0 else ""
    return [
        *lines,
        f"{duration(lost_s)} of {duration(max(wall_s, 0.0))}{share}:",
        *([f"- thrown away: {trained}"] if discarded else []),
        f"- without training: {duration(run.downtime_s)}",
    ]
