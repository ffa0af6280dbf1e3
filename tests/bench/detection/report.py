"""What the bench found as one document, and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tests.bench.detection.aims import BENCHED, Aim, aims
from tests.bench.detection.contenders import AlarmLevel
from tests.bench.detection.play import Outcome
from tests.bench.detection.score import (
    DELAYS,
    Cell,
    FalseAlarms,
    Recall,
    by_family,
    by_fault,
    by_severity,
    cells,
    false_alarms,
)

EXAMPLES_MAX = 20


class Document(msgspec.Struct, frozen=True):
    """One run of the bench."""

    seed: str
    faulty_batches: int
    contenders: dict[str, str]  # and where each rule is published
    aims: list[Aim]
    false_alarms: list[FalseAlarms]
    families: list[Cell]
    severities: list[Cell]
    faults: list[Cell]
    errors: list[str]  # cases that failed to run, contenders that raised


def document(
    seed: str,
    outcomes: Sequence[Outcome],
    faulty_batches: int,
    contenders: dict[str, str],
    errors: Iterable[str],
) -> Document:
    """Every table of the outcomes."""
    early = false_alarms(outcomes)
    return Document(
        seed, faulty_batches, contenders, aims(outcomes, early, faulty_batches), early,
        cells(outcomes, by_family), cells(outcomes, by_severity), cells(outcomes, by_fault),
        list(errors),
    )  # fmt: skip


def summary(result: Document) -> str:
    """Aims, false alarms, and recall by family, as Markdown."""
    return "\n\n".join(
        filter(None, (_heading(result), _aims(result), _false_alarms(result), _contenders(result), _families(result)))
    )


def markdown(result: Document) -> str:
    """The summary, every fault, our false alarms quoted, and where the rules are published."""
    parts = (summary(result), _severities(result), _faults(result), _examples(result), _sources(result))
    return "\n\n".join(filter(None, parts)) + "\n"


def _heading(result: Document) -> str:
    healthy = max((row.batches for row in result.false_alarms if row.among == "healthy"), default=0)
    about = (
        f"Seed {result.seed}; {healthy:,} healthy batches, {result.faulty_batches:,} faulty ones. *Info*: a line on "
        "the run's terminal; *warning*: people are alerted; *critical*: an incident is opened, and the policy may stop "
        "the training and roll back. A published rule has one level, counted as a warning. Alarms of one source within "
        "300 "
        "batches of each other count as one. "
        "Delays are batches from the first faulty one; of a hang, seconds."
    )
    return "\n".join([about, *(f"- failed to run: {error}" for error in result.errors)])


def _aims(result: Document) -> str:
    return _table(("aim", "figure", "met"), ((a.aim, a.figure, _MET[a.met]) for a in result.aims))


def _false_alarms(result: Document) -> str:
    rows: dict[tuple[str, str], dict[str, FalseAlarms]] = {}
    for row in result.false_alarms:
        rows.setdefault((row.contender, row.level), {})[row.among] = row
    head = ("contender", "level", "healthy: alarms", "per million", "at most (95 %)", "look-alikes: alarms", "batches")
    return "False alarms\n\n" + _table(head, (_false_alarm_row(key, among) for key, among in rows.items()))


def _false_alarm_row(key: tuple[str, str], among: dict[str, FalseAlarms]) -> tuple[str, ...]:
    healthy, benign = among.get("healthy"), among.get("benign")
    plain = (str(healthy.alarms), f"{healthy.per_million:.1f}", f"{healthy.bound_per_million:.1f}") if healthy else ()
    alike = (str(benign.alarms), f"{benign.batches:,}") if benign else ()
    return (*key, *(plain or ("", "", "")), *(alike or ("", "")))


def _contenders(result: Document) -> str:
    """Contenders by families: found within 100 batches."""
    families = list(dict.fromkeys(_family(cell) for cell in result.families))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in result.families:
        share = f"{cell.recall.within[-1]}/{cell.recall.cases}"
        rows.setdefault((cell.contender, cell.level), {})[_family(cell)] = share
    if not rows:
        return ""
    body = ((*key, *(found.get(family, "") for family in families)) for key, found in rows.items())
    title = f"Found within {DELAYS[-1]} batches of the onset (a hang: within its limit)\n\n"
    return title + _table(("contender", "level", *families), body)


def _family(cell: Cell) -> str:
    return f"{cell.family}, live" if cell.source == "live" else cell.family


def _families(result: Document) -> str:
    body = [(_family(c), c.level, *_figures(c.recall)) for c in result.families if c.contender == BENCHED]
    return f"{BENCHED}, by family\n\n" + _table(("family", "level", *_FIGURES), body) if body else ""


def _severities(result: Document) -> str:
    ours = [c for c in result.severities if c.contender == BENCHED]
    body = [(_family(c), c.severity, c.level, *_figures(c.recall)) for c in ours]
    head = ("family", "severity", "level", *_FIGURES)
    return f"{BENCHED}, by family and severity\n\n" + _table(head, body) if body else ""


def _faults(result: Document) -> str:
    """A line for each fault: how many cases each level found, and after how long in the middle."""
    rows: dict[tuple[str, ...], dict[str, Recall]] = {}
    for cell in result.faults:
        if cell.contender == BENCHED:
            rows.setdefault((_family(cell), cell.fault, cell.severity, cell.lasts), {})[cell.level] = cell.recall
    if not rows:
        return ""
    head = ("family", "fault", "severity", "lasts", "cases", *_LEVELS, "first reported by")
    return f"{BENCHED}, every fault\n\n" + _table(head, ((*key, *_fault(found)) for key, found in rows.items()))


def _fault(by_level: dict[str, Recall]) -> tuple[str, ...]:
    recalls = [by_level[level] for level in _LEVELS]
    after = (f"{r.found} after {_number(r.delay_median)}" if r.found else "0" for r in recalls)
    return (str(recalls[0].cases), *after, ", ".join(recalls[0].by))


_LEVELS = tuple(level.label for level in AlarmLevel)
_MET = {True: "yes", False: "**no**", None: "too few batches"}
_FIGURES = ("cases", *(f"≤ {d}" for d in DELAYS), "ever", "median", "p95", "lead", "family right / not named / wrong")


def _figures(recall: Recall) -> tuple[str, ...]:
    named = f"{recall.right} / {recall.abstained} / {recall.wrong}" if recall.found else ""
    return (
        str(recall.cases), *map(str, recall.within), str(recall.found), _number(recall.delay_median),
        _number(recall.delay_p95), _number(recall.lead_median), named,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _examples(result: Document) -> str:
    ours = [row for row in result.false_alarms if row.contender == BENCHED and row.level == _LEVELS[0] and row.alarms]
    lines = [f"- {example}" for row in ours for example in row.examples[:EXAMPLES_MAX]]
    return "\n".join([f"False alarms of {BENCHED}, the first ones\n", *lines]) if lines else ""


def _sources(result: Document) -> str:
    return "\n".join(["Contenders\n", *(f"- {name}: {source}" for name, source in result.contenders.items())])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(head, rows))


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
