"""What changed, since when, and why: the diagnosis of an incident from the batches around its onset. Pure.

Abstaining is right where evidence is thin: a wrong cause costs more of somebody's morning than none.
"""

from __future__ import annotations

import msgspec

from monitor.core.diagnosis.case import Case, case_of, case_of_finding
from monitor.core.diagnosis.position_text import where
from monitor.core.diagnosis.remarks import notes
from monitor.core.diagnosis.shifts import shifts
from monitor.core.diagnosis.verdict import in_words, verdict, weigh
from monitor.core.format import batches, number
from monitor.core.model import Diagnosis, Finding, Incident
from monitor.core.state.run import RunState

REFERENCE_LEFT_BATCHES = 64  # that must still be at hand before the onset, or the earlier diagnosis knew more


def diagnose(run: RunState, incident: Incident) -> Diagnosis:
    """The diagnosis of an incident as its run is now.

    Once the batches around the onset are gone only what is kept for longer is told anew: what drove memory.
    """
    case = case_of(run, incident)
    known = incident.diagnosis
    if known is not None and len(case.before_first) < REFERENCE_LEFT_BATCHES < case.first.count:
        here = run.position or known.at
        return msgspec.structs.replace(known, at=here, notes=_renewed(known.notes, notes(case)))
    return _of(case)


def diagnose_finding(run: RunState, finding: Finding) -> Diagnosis:
    """The same for a finding that opens no incident."""
    return _of(case_of_finding(run, finding))


def _of(case: Case) -> Diagnosis:
    causes = weigh(case)
    found = verdict(causes)
    return Diagnosis(
        at=case.run.position or case.first,
        onset=case.onset,
        onset_text=_dated(case),
        verdict=found.family if found else "",
        text=in_words(causes, found),
        causes=causes,
        shifts=shifts(case),
        notes=notes(case),
    )


def _dated(case: Case) -> str:
    if case.lead is not None:
        found = case.lead
        earlier = f"{batches(found.earlier)} before the first bad one"
        away = f"{number(found.spreads)} spreads above its level"
        return f"It began at {where(case.onset)}, {earlier}: {found.measure.words} was {away}."
    if case.thin:
        return f"It began at {where(case.onset)}; too few batches before it are at hand to date it further back."
    return f"It began at {where(case.onset)}: nothing was out of the usual in the batches before."


def _renewed(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """The notes of before, with what is now known of memory in place of what was."""
    memory = tuple(note for note in new if _of_memory(note))
    return (*memory, *(note for note in old if not (memory and _of_memory(note))))


def _of_memory(note: str) -> bool:
    return note.startswith(("What drove memory", "Memory"))
