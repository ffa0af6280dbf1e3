"""The likely cause with the evidence for and against it, and what changed. Pure."""

from __future__ import annotations

from monitor.core.model import Cause, Diagnosis, Incident
from monitor.core.state.run import RunState
from monitor.report.text import count, safe, table

SENTENCE_CHARS_MAX = 600


def likely_cause(run: RunState, incident: Incident, now_s: float) -> list[str]:
    """The verdict or that there is none, the evidence for and against, the runner-up, and the test that settles it."""
    found = incident.diagnosis
    if found is None:
        return []
    lines = ["## Likely cause", "", f"**{_sentence(found.text)}**", "", f"- {_sentence(found.onset_text)}"]
    if found.causes:
        lines += _evidence(found.causes[0])
    lines += [f"- Next likeliest: {_sentence(cause.title)} ({_weight(cause)})." for cause in _others(found)]
    return lines


def _others(found: Diagnosis) -> tuple[Cause, ...]:
    """The runner-up, where anything speaks for it on balance."""
    return tuple(cause for cause in found.causes[1:2] if cause.score > 0.0)


def _evidence(cause: Cause) -> list[str]:
    about = f"{_sentence(cause.title)} ({_weight(cause)})"
    lines = [f"- Weighed first: {about}."]
    lines += [f"  - for: {_sentence(text)}" for text in cause.speaks_for]
    lines += [f"  - against: {_sentence(text)}" for text in cause.speaks_against]
    return [*lines, f"- The test that would settle it: {_sentence(cause.test)}"]


def _weight(cause: Cause) -> str:
    return f"weight of the evidence {cause.score:+.1f}"


def what_changed(run: RunState, incident: Incident, now_s: float) -> list[str]:
    """Every shift, the largest first, and what people ask first: memory, schedule, biases, warm-up."""
    found = incident.diagnosis
    if found is None:
        return []
    lines = ["## What changed", ""]
    if found.shifts:
        rows = [[_sentence(s.text), safe(s.before), safe(s.after), f"{s.effect:+.1f}"] for s in found.shifts]
        lines += table(["what", "before", "after", "shift in spreads"], rows)
    else:
        lines.append("Nothing that is told of the batches changed beyond its own noise.")
    notes = [f"- {_sentence(note)}" for note in (found.memory, *found.notes) if note]
    as_of = f"As of batch {count(found.at.batch)} of epoch {found.at.epoch}."
    return [*lines, "", *notes, f"- {as_of}"]


def _sentence(text: str) -> str:
    return safe(text, SENTENCE_CHARS_MAX)
