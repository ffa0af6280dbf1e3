"""Weighs the evidence of a case, and abstains where nothing leads clearly. Pure."""

from __future__ import annotations

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.cause_table import FAMILIES, CauseFamily
from monitor.core.model import Cause

SCORE_MIN = 4.0  # one strong piece of evidence, or several weaker ones
LEAD_MIN = 1.5  # before the runner-up
CAUSES_MAX = 5


def weigh(case: Case) -> tuple[Cause, ...]:
    """Every family that may explain this kind of trouble and has evidence for it, the likeliest first."""
    weighed = [_weighed(case, family) for family in FAMILIES if case.family in family.explains]
    found = [cause for cause in weighed if cause.speaks_for]
    return tuple(sorted(found, key=lambda cause: -cause.score)[:CAUSES_MAX])


def _weighed(case: Case, family: CauseFamily) -> Cause:
    answers = [(item.weight, text) for item in family.items if (text := item.ask(case))]
    who = family.names(case) if family.names is not None else ""
    return Cause(
        family=family.name,
        title=f"{family.title}: {who}" if who else family.title,
        score=sum(weight for weight, _ in answers),
        speaks_for=tuple(text for weight, text in answers if weight > 0),
        speaks_against=tuple(text for weight, text in answers if weight < 0),
        test=family.test,
    )


def verdict(causes: tuple[Cause, ...]) -> Cause | None:
    """The cause that leads clearly; None: not enough evidence."""
    if not causes or causes[0].score < SCORE_MIN:
        return None
    runner_up = causes[1].score if len(causes) > 1 else 0.0
    return causes[0] if causes[0].score - runner_up >= LEAD_MIN else None


def cause_text(causes: tuple[Cause, ...], found: Cause | None) -> str:
    """The verdict in a sentence."""
    if found is not None:
        return f"Likely cause: {found.title}."
    if causes and causes[0].score > 0.0:
        return f"Not enough evidence for a cause; the best guess is: {causes[0].title}."
    return "Not enough evidence for a cause."
