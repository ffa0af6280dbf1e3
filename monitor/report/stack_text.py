"""Where a training stood still: the stacks that were taken, ranks that stand alike together. Pure."""

from __future__ import annotations

from monitor.core.format import count, plural, when
from monitor.core.model import Family, Incident
from monitor.core.state.run import RunState, TrainingState
from monitor.core.state.stacks import TakenStacks
from monitor.report.report_input import ReportInput
from monitor.report.text import safe

STREAKS_SHOWN = 3  # the last ones
GROUPS_SHOWN = 4  # of ranks that stand alike
THREADS_SHOWN = 8
FRAMES_SHOWN = 16  # the innermost
LINE_CHARS_MAX = 200
EARLY_S = 300.0  # stacks are taken before the incident that waits for them opens


def of_incident(run: RunState, training: TrainingState, incident: Incident, now_s: float) -> list[str]:
    """The standstills between just before an incident and its end; nothing for an incident that is not about one."""
    if incident.family != Family.HANG:
        return []
    until_s = incident.closed_s or now_s
    return _section([t for t in training.ledger.stacks.taken if incident.opened_s - EARLY_S <= t.at_s <= until_s])


def of_run(report_input: ReportInput) -> list[str]:
    """The last standstills of a run."""
    stacks = report_input.training.ledger.stacks
    lines = _section(stacks.taken)
    return [*lines, "", f"Stacks of before that were not kept: {count(stacks.dropped)}."] if stacks.dropped else lines


def _section(taken: list[TakenStacks]) -> list[str]:
    if not taken:
        return []
    streaks: dict[tuple[int, int], list[TakenStacks]] = {}
    for each in taken:
        streaks.setdefault((each.generation, each.count), []).append(each)
    lines = ["## Where training stood still"]
    for streak in list(streaks.values())[-STREAKS_SHOWN:]:
        lines += _streak(streak)
    return lines


def _streak(taken: list[TakenStacks]) -> list[str]:
    first = taken[0]
    alike: dict[str, list[TakenStacks]] = {}
    for each in taken:
        alike.setdefault(each.seen.threads[0] if each.seen.threads else "", []).append(each)
    groups = sorted(alike.values(), key=len)  # the rank that stands elsewhere is the one to look at
    place = f"After {safe(first.where)}" if first.count else "Before the first batch"
    lines = ["", f"{place} (generation {first.generation}), asked at {when(first.at_s)}:"]
    for group in groups[:GROUPS_SHOWN]:
        lines += _group(group)
    more = len(groups) - GROUPS_SHOWN
    return [*lines, "", f"And {plural(more, 'more place')}."] if more > 0 else lines


def _group(group: list[TakenStacks]) -> list[str]:
    first = group[0].seen
    numbers = sorted({each.rank for each in group})  # several looks at one rank
    ranks = ", ".join(map(count, numbers[:16])) + (" and others" if len(numbers) > 16 else "")
    phase = f", in phase {safe(first.phase)}" if first.phase else ""
    if not first.threads:
        return ["", f"**Rank {ranks}**{phase}: its stacks could not be read."]
    how = "its own hook" if first.how == "hook" else safe(first.how) or "no one"
    lines = ["", f"**Rank {ranks}**{phase}; read by {how}. The innermost call is last:", ""]
    for text in first.threads[:THREADS_SHOWN]:
        lines += _thread(text)
    more = len(first.threads) - THREADS_SHOWN
    return [*lines, f"- and {plural(more, 'more thread')}"] if more > 0 else lines


def _thread(text: str) -> list[str]:
    name, *frames = text.splitlines() or [""]
    left_out = len(frames) - FRAMES_SHOWN
    shown = [f"  - {safe(frame.strip(), LINE_CHARS_MAX)}" for frame in frames[-FRAMES_SHOWN:]]
    above = [f"  - ... {left_out} outer calls"] if left_out > 0 else []
    return [f"- {safe(name.strip(), LINE_CHARS_MAX)}", *above, *shown]
