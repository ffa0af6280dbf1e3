"""The incident report: one Markdown page that answers what people ask in the morning. Pure.

Every text that came from outside (titles, samples, tensor names, settings) passes `text.safe` on its way in.
"""

from __future__ import annotations

from monitor.core.format import batch_at, when
from monitor.core.model import Incident
from monitor.core.policy.texts import onset_label, onset_of, state_text
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary import summary_of
from monitor.report import cost, decision, diagnosis, incident_records, settings_section, stack_text, what_happened
from monitor.report.text import safe
from monitor.report.top_lines import top_lines

SECTIONS = (  # in the order in which a person asks
    what_happened.what_happened,
    diagnosis.likely_cause,
    diagnosis.what_changed,
    stack_text.of_incident,
    decision.decided,
    decision.outcome,
    cost.time_lost,
    cost.deadline,
    decision.options,
    incident_records.checkpoints,
    what_happened.epochs,
    what_happened.skips,
    what_happened.memory,
    settings_section.rates,
    settings_section.changed,
    settings_section.in_force,
    incident_records.samples,
    incident_records.timeline,
    diagnosis.numbers_behind,
)


def render(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> str:
    """The report of an incident as Markdown, from the state as it is at `now_s` (Unix time).

    Whatever the run has not shown yet is left out or said to be unknown; nothing is guessed.
    """
    blocks = ["\n".join(lines) for section in SECTIONS if (lines := section(run, training, incident, now_s))]
    top = "\n".join(top_lines(summary_of(run, training, incident, now_s)))
    return "\n\n".join([_heading(run, incident, now_s), top, *blocks]) + "\n"


def _heading(run: RunState, incident: Incident, now_s: float) -> str:
    onset = onset_of(incident)
    where = batch_at(onset.epoch, onset.batch) if onset.count else "before the first batch"
    state = state_text(incident)
    what = onset_label(incident.family)
    return (
        f"# Incident {incident.number} of {safe(run.spec.title or run.spec.run)}\n\n"
        f"**{state.capitalize()}** · {incident.severity.value} · {what}: {where} · run {safe(run.spec.run)}, "
        f"generation {run.generation} · as of {when(now_s)}"
    )
