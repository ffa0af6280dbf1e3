"""What people ask first, answered whatever the cause is: memory, the scheduler, the biases, the warm-up. Pure."""

from __future__ import annotations

import math

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.evidence.memory import main_rise, record, rise_text, steady_rises
from monitor.core.diagnosis.position_text import where
from monitor.core.diagnosis.rates import followed_plan, high_groups, share_of_warm_up, warm_up
from monitor.core.format import name, number
from monitor.core.model import Position
from trainer_hooks.wire.words import OUT_OF_MEMORY

ENDS_HERE = "Warm-up ended in the batch of the onset."


def remarks(case: Case) -> tuple[str, ...]:
    """Sentences; none where nothing is known."""
    return tuple(text for ask in (_plan, _biases, _warm_up, _out_of_memory) if (text := ask(case)))


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
        after = place.done - place.ends
        return f"Warm-up had ended {share_of_warm_up(after, place.ends)} before the onset." if after else ENDS_HERE
    left = f"{share_of_warm_up(place.ends - place.done, place.ends)} before its end"
    near = "" if place.near_end else ": its end is not the cause"
    return f"The onset lies {100.0 * place.done / place.ends:.0f} % into warm-up, {left}{near}."


def _out_of_memory(case: Case) -> str:
    """The trainer itself took smaller batches."""
    halved = [
        change
        for generation, change in case.training.settings_log
        if generation == case.first.generation and change.name == "batch_size" and change.reason == OUT_OF_MEMORY
    ]
    if not halved:
        return ""
    sizes = " -> ".join(name(size) for size in (halved[0].old, *(change.new for change in halved)))
    at = where(Position(0, halved[-1].epoch, halved[-1].batch, 0))
    return f"The trainer halved the batch size after an out-of-memory error: {sizes}, at {at}."
