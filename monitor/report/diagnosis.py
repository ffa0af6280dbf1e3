"""The likely cause with the evidence for and against it, and what changed. Pure."""

from __future__ import annotations

import math

from monitor.core.format import count
from monitor.core.model import Cause, Diagnosis, Family, Incident, Shift
from monitor.core.state.run import RunState, TrainingState
from monitor.core.summary.crash_text import cause_of_crash
from monitor.report.text import safe, table

SENTENCE_CHARS_MAX = 600
EVIDENCE = (  # scores of causes: 4 is what the diagnosis asks for before it names one
    (4.0, "strong evidence"),
    (2.0, "some evidence"),
    (-math.inf, "weak evidence"),
)
SPREAD_REMARK = (
    "A usual spread is 1.48 times the median distance from the median, over the batches before the onset. "
    "Cliff's delta is 1 where every value after the onset is higher than every value before it, and -1 where every "
    "value is lower."
)
LARGE = ((10.0, "very large"), (5.0, "large"), (0.0, "clear"))  # in usual spreads


def likely_cause(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The verdict or that there is none, the evidence for and against, the runner-up, and the test that settles it."""
    found = incident.diagnosis
    if incident.family == Family.CRASH and (text := cause_of_crash(incident)):
        return ["## Likely cause", "", text]
    if found is None or incident.family == Family.CRASH:
        return []
    lines = ["## Likely cause", "", f"**{_sentence(found.text)}**", "", f"- {_sentence(found.onset_text)}"]
    if found.causes:
        lines += _evidence(found.causes[0])
    lines += [f"- Next most likely: {_sentence(cause.title)} ({_weight(cause)})." for cause in _others(found)]
    return lines


def _others(found: Diagnosis) -> tuple[Cause, ...]:
    """The runner-up, where anything speaks for it on balance."""
    return tuple(cause for cause in found.causes[1:2] if cause.score > 0.0)


def _evidence(cause: Cause) -> list[str]:
    lines = [f"- Most likely of all: {_sentence(cause.title)} ({_weight(cause)})."]
    if cause.score <= 0.0:
        lines = [f"- No cause has more evidence for it than against it. The closest: {_sentence(cause.title)}."]
    lines += [f"  - for: {_sentence(text)}" for text in cause.speaks_for]
    lines += [f"  - against: {_sentence(text)}" for text in cause.speaks_against]
    return [*lines, f"- The test that would confirm it: {_sentence(cause.test)}"]


def _weight(cause: Cause) -> str:
    return next(text for least, text in EVIDENCE if cause.score >= least)


def _how_large(shift: Shift) -> str:
    return next(text for least, text in LARGE if abs(shift.effect) >= least)


def what_changed(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """Every shift, the largest first, and what people ask first: memory, schedule, biases, warm-up."""
    found = incident.diagnosis
    if found is None:
        return []
    lines = ["## What changed", ""]
    if found.shifts:
        rows = [[_sentence(s.text), safe(s.before), safe(s.after), _how_large(s)] for s in found.shifts]
        lines += table(["what", "before", "after", "how large"], rows)
    else:
        lines.append("Nothing that was recorded of the batches changed by more than its usual noise.")
    notes = [f"- {_sentence(note)}" for note in (found.memory, *found.notes) if note]
    as_of = f"This diagnosis was made at epoch {found.at.epoch}, batch {count(found.at.batch)}."
    return [*lines, "", *notes, f"- {as_of}"]


def numbers_behind(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The statistics of the diagnosis, for those who want to check it."""
    found = incident.diagnosis
    if found is None or not (found.shifts or found.causes):
        return []
    lines = ["## Numbers behind the diagnosis", ""]
    if found.shifts:
        rows = [[_sentence(s.text), f"{s.effect:+.1f}", f"{s.delta:+.2f}"] for s in found.shifts]
        lines += [*table(["what", "shift, in usual spreads", "Cliff's delta"], rows), ""]
        lines += [SPREAD_REMARK]
    if found.causes:
        rows = [[_sentence(cause.title), f"{cause.score:+.1f}"] for cause in found.causes]
        lines += ["", *table(["possible cause", "evidence for it, less against it"], rows)]
    return lines


def _sentence(text: str) -> str:
    return safe(text, SENTENCE_CHARS_MAX)
