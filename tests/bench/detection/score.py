"""Outcomes as figures: recall by delay, leads, attribution, and false alarms per million batches. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import msgspec

from tests.bench.detection.contenders import AlarmLevel
from tests.bench.detection.play import Outcome, TimedAlarm
from tests.bench.detection.streams import Case

DELAYS = (0, 1, 5, 20, 100)  # batches
EXAMPLES_MAX = 12  # false alarms that are quoted
CONFIDENCE = 0.95
Group = tuple[str, str, str]  # fault, severity, how long; empty: all of them


class Recall(msgspec.Struct, frozen=True):
    """How much of one group of cases a contender found, at one level or above it."""

    cases: int
    found: int  # at any time
    within: tuple[int, ...]  # of DELAYS; a hang counts in each where it was found in time
    delay_median: float | None  # batches; of a hang: seconds of silence. None: nothing was found
    delay_p95: float | None
    lead_median: float | None  # batches before the peak; None: no peaks, or none found
    right: int  # found, and the right family was named
    abstained: int  # found, and none was named
    wrong: int  # found, and only others were named
    by: dict[str, int]  # what found it first


class Cell(msgspec.Struct, frozen=True):
    """One line of the long table."""

    contender: str
    level: str  # of the alarm: "info", "warning", "critical"
    family: str
    fault: str
    severity: str
    lasts: str
    source: str  # "synthetic", "live"
    recall: Recall


class FalseAlarms(msgspec.Struct, frozen=True):
    """How often a contender raised a false alarm at one level or above it."""

    contender: str
    level: str
    among: str  # "healthy", "benign"
    batches: int
    alarms: int
    per_million: float
    bound_per_million: float  # 95 % upper bound, exact Poisson; for 0 alarms the rule of three
    by: dict[str, int]  # by detector and kind of training
    examples: tuple[str, ...]


def first(outcome: Outcome, least: AlarmLevel) -> TimedAlarm | None:
    """The first alarm of that level or above it, from the onset on."""
    onset = outcome.case.onset
    if onset is None:
        return None
    return next((h for h in outcome.alarms if h.batch >= onset and h.alarm.level >= least), None)


def delay(outcome: Outcome, alarm: TimedAlarm) -> float:
    """Batches from the onset; of a hang, the seconds of silence."""
    if outcome.case.family == "hang":
        return alarm.waited_s
    return float(alarm.batch - (outcome.case.onset or 0))


def in_time(outcome: Outcome, alarm: TimedAlarm, batches: float) -> bool:
    """Found within so many batches; a hang: within its limit, or at all where it has none."""
    if outcome.case.family != "hang":
        return delay(outcome, alarm) <= batches
    return outcome.case.limit_s is None or alarm.waited_s <= outcome.case.limit_s


def recall(outcomes: Sequence[Outcome], least: AlarmLevel) -> Recall:
    """What was found of faulty cases, at `least` that level."""
    found = [(o, h) for o in outcomes if (h := first(o, least)) is not None]
    delays = sorted(delay(o, h) for o, h in found)
    leads = [float(o.case.peak - h.batch) for o, h in found if o.case.peak is not None]
    named = Counter(_named(o, h) for o, h in found)
    return Recall(
        cases=len(outcomes),
        found=len(found),
        within=tuple(sum(in_time(o, h, d) for o, h in found) for d in DELAYS),
        delay_median=median(delays) if delays else None,
        delay_p95=delays[math.ceil(0.95 * len(delays)) - 1] if delays else None,
        lead_median=median(leads) if leads else None,
        right=named["right"],
        abstained=named["abstained"],
        wrong=named["wrong"],
        by=dict(Counter(h.alarm.source for _, h in found).most_common()),
    )


def _named(outcome: Outcome, alarm: TimedAlarm) -> str:
    if not alarm.alarm.families:
        return "abstained"
    return "right" if (outcome.case.cause or outcome.case.family) in alarm.alarm.families else "wrong"


def by_family(case: Case) -> Group:
    """Whole families."""
    return "", "", ""


def by_severity(case: Case) -> Group:
    """Families, each severity by itself."""
    return "", case.severity, ""


def by_fault(case: Case) -> Group:
    """Every fault, severity and duration by itself."""
    return case.fault, case.severity, case.lasts


def cells(
    outcomes: Iterable[Outcome],
    grouped: Callable[[Case], Group] = by_fault,
) -> list[Cell]:
    """The groups of faulty cases of each contender and family, at each of its levels."""
    groups: dict[tuple[str, str, str, str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        case = outcome.case
        if case.faulty and not case.error:
            key = (outcome.contender, case.family, *grouped(case), case.source)
            groups.setdefault(key, []).append(outcome)
    return [
        Cell(who, level.label, family, fault, severity, lasts, source, recall(members, level))
        for (who, family, fault, severity, lasts, source), members in groups.items()
        for level in members[0].levels
    ]


def false_alarms(outcomes: Iterable[Outcome]) -> list[FalseAlarms]:
    """Alarms where nothing was wrong: in healthy trainings, before the onset of faulty ones, in look-alikes."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        among = "benign" if outcome.case.benign else "healthy"
        groups.setdefault((outcome.contender, among), []).append(outcome)
    return [
        _counted(contender, among, members, level)
        for (contender, among), members in groups.items()
        for level in members[0].levels
    ]


def _counted(contender: str, among: str, outcomes: list[Outcome], least: AlarmLevel) -> FalseAlarms:
    batches = sum(healthy_batches(o) for o in outcomes)
    early = [(o, h) for o in outcomes for h in o.alarms if h.alarm.level >= least and _too_soon(o, h)]
    by = Counter(f"{h.alarm.source}, {o.case.fault}" for o, h in early)
    million = max(batches, 1) / 1e6
    return FalseAlarms(
        contender, least.label, among, batches, len(early), len(early) / million,
        poisson_bound(len(early)) / million, dict(by.most_common()),
        tuple(f"{o.case.fault} ({o.case.kind}), batch {h.batch}: {h.alarm.text}" for o, h in early[:EXAMPLES_MAX]),
    )  # fmt: skip


def healthy_batches(outcome: Outcome) -> int:
    """Batches of the case in which nothing was wrong. Those of an opening are counted with the opening."""
    case = outcome.case
    if case.opening is not None:
        return 0
    return outcome.batches if case.onset is None else min(case.onset, outcome.batches)


def _too_soon(outcome: Outcome, alarm: TimedAlarm) -> bool:
    onset = outcome.case.onset
    return onset is None or alarm.batch < onset


def poisson_bound(events: int) -> float:
    """The mean that gives no more than `events` with a chance of only 5 %: 3.0 for none (the rule of three)."""
    low, high = float(events), events + 10.0 + 6.0 * math.sqrt(events + 1.0)
    for _ in range(60):
        middle = (low + high) / 2.0
        if _at_most(events, middle) > 1.0 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(events: int, mean: float) -> float:
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1))
