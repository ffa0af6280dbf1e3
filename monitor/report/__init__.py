"""The incident report: one Markdown page that answers what people ask in the morning. Pure.

Every text that came from outside (titles, samples, tensor names, settings) passes `words.safe` on its way in.
"""

from __future__ import annotations

from monitor.core.model import Incident
from monitor.core.state.run import RunState
from monitor.report import cost, decision, diagnosis, incident_records, settings_section, stack_text, summary
from monitor.report.text import count, safe, when

SECTIONS = (
    summary.summary,
    diagnosis.likely_cause,
    diagnosis.what_changed,
    summary.epochs,
    summary.skips,
    summary.memory,
    stack_text.of_incident,
    settings_section.in_force,
    settings_section.rates,
    settings_section.changed,
    decision.options,
    decision.decided,
    cost.time_lost,
    cost.deadline,
    incident_records.checkpoints,
    incident_records.samples,
    decision.outcome,
    incident_records.timeline,
)


def render(run: RunState, incident: Incident, now_s: float) -> str:
    """The report of an incident as Markdown, from the state as it is at `now_s` (Unix time).

    Whatever the run has not shown yet is left out or said to be unknown; nothing is guessed.
    """
    blocks = ["\n".join(lines) for section in SECTIONS if (lines := section(run, incident, now_s))]
    return "\n\n".join([_heading(run, incident, now_s), *blocks]) + "\n"


def _heading(run: RunState, incident: Incident, now_s: float) -> str:
    where = f"epoch {incident.onset.epoch}, batch {count(incident.onset.batch)}"
    state = incident.state.value.replace("_", " ")
    return (
        f"# Incident {incident.number} of {safe(run.spec.title or run.spec.run)}\n\n"
        f"**{state.capitalize()}** · {incident.severity.value} · first bad batch: {where} · run {safe(run.spec.run)}, "
        f"generation {run.generation} · as of {when(now_s)}"
    )
