"""What people ask first, answered whatever the cause is: memory, the scheduler, the biases, the warm-up. Pure."""

from __future__ import annotations

import math

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.evidence.memory import main_rise, record, rise_text, steady_rises
from monitor.core.diagnosis.rates import followed_plan, high_groups, warm_up
from monitor.core.format import batches, name, number


def remarks(case: Case) -> tuple[str, ...]:
    """Sentences; none where nothing is known."""
    return tuple(text for ask in (_plan, _biases, _warm_up) if (text := ask(case)))


def memory(case: Case) -> str:
    """What drove memory, in a sentence: the batch of the rise that added most. Empty: it did not rise."""
    rise = main_rise(case)
    if rise is None:
        steady = steady_rises(case)
        return f"Memory: {steady}, and no single batch did it." if steady else ""
    found = record(rise)
    if found is not None:
        more = f"{number(found.now)} in that batch, against {number(found.before)} at most in every batch before"
        return f"What drove memory: {rise_text(rise)}, and {found.label} was {more}. It is not a sign of the trouble."
    if rise.at.batch == 0:
        return f"What drove memory: {rise_text(rise)}, by what lies between two epochs (validation, saving)."
    return f"Memory: {rise_text(rise)}; no recorded value of that batch was larger than before."


def _plan(case: Case) -> str:
    followed = followed_plan(case)
    if followed is None:
        return ""
    if followed:
        return "The scheduler followed its plan: no group's rate moved at once before the onset."
    return "The scheduler left its plan: a rate moved at once within an epoch before the onset."


def _biases(case: Case) -> str:
    """Groups far above the base rate: in some trainers the biases warm up *down* from a higher one."""
    base = case.framework.settings.learning_rate
    groups = [f"Group {name(g)} stood at {number(r)}, {math.floor(m)} times {base}" for g, r, m in high_groups(case)]
    return f"{'; '.join(groups)} ({number(case.setting(base) or 0.0)})." if groups else ""


def _warm_up(case: Case) -> str:
    place = warm_up(case)
    if place is None or place.ends <= 0:
        return ""
    if place.done >= place.ends:
        return f"Warm-up had ended {batches(place.done - place.ends)} before the onset."
    share = 100.0 * place.done / place.ends
    left = batches(place.ends - place.done)
    return f"The onset lies {share:.0f} % into warm-up, {left} before its end: its end is not the cause."
