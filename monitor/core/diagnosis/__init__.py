"""What changed, since when, and why: the diagnosis of an incident from the batches around its onset. Pure.

Abstaining is right where evidence is thin: a wrong cause costs more of somebody's morning than none.
"""

from __future__ import annotations

import msgspec

from monitor.core.diagnosis.case import Case, case_of, case_of_finding
from monitor.core.diagnosis.position_text import distance, where
from monitor.core.diagnosis.remarks import memory, remarks
from monitor.core.diagnosis.shifts import shifts
from monitor.core.diagnosis.verdict import cause_text, verdict, weigh
from monitor.core.format import number
from monitor.core.model import Diagnosis, Finding, Incident
from monitor.core.state.run import TrainingState

REFERENCE_LEFT_BATCHES = 64  # that must still be at hand before the onset, or the earlier diagnosis knew more


def diagnose(training: TrainingState, incident: Incident) -> Diagnosis:
    """The diagnosis of an incident as its run is now.

    Once the batches around the onset are gone only what is kept for longer is written anew: what drove memory.
    """
    case = case_of(training, incident)
    known = incident.diagnosis
    if known is not None and len(case.before_first) < REFERENCE_LEFT_BATCHES < case.first.count:
        here = training.position or known.at
        return msgspec.structs.replace(known, at=here, memory=memory(case) or known.memory)
    return _of(case)


def diagnose_finding(training: TrainingState, finding: Finding) -> Diagnosis:
    """The same for a finding that opens no incident."""
    return _of(case_of_finding(training, finding))


def _of(case: Case) -> Diagnosis:
    causes = weigh(case)
    found = verdict(causes)
    return Diagnosis(
        at=case.training.position or case.first,
        onset=case.onset,
        onset_text=_dated(case),
        verdict=found.family if found else "",
        text=cause_text(causes, found),
        causes=causes,
        shifts=shifts(case),
        notes=remarks(case),
        memory=memory(case),
    )


def _dated(case: Case) -> str:
    if case.lead is not None:
        found = case.lead
        earlier = f"{distance(found.earlier, case.an_epoch)} before the first bad batch"
        away = f"{number(found.spreads)} spreads above its level"
        return f"It began at {where(case.onset)}, {earlier}: {found.quantity.label} was {away}."
    if case.thin:
        return f"It began at {where(case.onset)}; too few batches before it are at hand to date it further back."
    return f"It began at {where(case.onset)}: nothing was out of the usual in the batches before."
