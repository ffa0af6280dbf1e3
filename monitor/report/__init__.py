"""The incident report: one Markdown page that answers what people ask in the morning. Pure.

Every text that came from outside (titles, samples, tensor names, settings) passes `words.safe` on its way in.
"""

from __future__ import annotations

from monitor.model import Incident
from monitor.report import cost, decision, diagnosis, evidence, happened, settings, stacks
from monitor.report.words import count, safe, when
from monitor.state.run import RunState

SECTIONS = (
    happened.summary,
    diagnosis.likely_cause,
    diagnosis.what_changed,
    happened.epochs,
    happened.skips,
    happened.memory,
    stacks.of_incident,
    settings.in_force,
    settings.rates,
    settings.changed,
    decision.options,
    decision.decided,
    cost.time_lost,
    cost.deadline,
    evidence.checkpoints,
    evidence.samples,
    decision.outcome,
    evidence.story,
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
