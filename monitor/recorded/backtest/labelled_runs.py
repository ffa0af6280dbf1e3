"""Runs whose outcome is known, and how well the core assessed them: recall, delay, false alarms. Pure."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from monitor.core.model import Severity
from monitor.recorded.backtest.result import LEVELS, Result

HEALTHY = "healthy"
NEITHER = frozenset({"", "unknown", "plateau"})  # no fault to find: a loss that stands still is only an info
PATHS, LABELS, ONSETS, GROUPS = ("file", "path"), ("label",), ("onset", "onset_row", "nan_onset_row"), ("group", "repo")


class LabelsError(Exception):
    """A file of labels can't be used: where, what, and the remedy."""


class Label(msgspec.Struct, frozen=True):
    """How one run went."""

    path: str  # as the file has it
    label: str  # "healthy", or the name of what went wrong
    onset_row: int | None = None  # the first bad training row, from 0; None: not known
    group: str = ""  # runs that are alike, such as those of one project: they are held out together

    @property
    def bad(self) -> bool:
        """True where something went wrong that the core should warn of."""
        return self.label != HEALTHY and self.label not in NEITHER


def read_labels(text: str, name: str) -> list[Label]:
    """The rows of a CSV with the columns path (or file, which wins) and label, and perhaps onset and group (or repo).

    Raises:
        LabelsError: a column is missing, or an onset is not a row number.
    """
    lines = csv.DictReader(io.StringIO(text, newline=""))
    names = [column or "" for column in lines.fieldnames or ()]
    path, label = _column(names, PATHS), _column(names, LABELS)
    if path is None or label is None:
        there = ", ".join(names[:12]) or "none"
        raise LabelsError(f"{name}: has the columns {there}; it needs path and label, and may have onset and group")
    onset, group = _column(names, ONSETS), _column(names, GROUPS)
    return [
        Label(
            row[path] or "",
            (row[label] or "").strip().lower(),
            _onset(row[onset], f"{name}: line {lines.line_num}") if onset else None,
            (row[group] or "") if group else "",
        )
        for row in lines
    ]


def _column(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    return next((name for want in wanted for name in names if name.strip().lower() == want), None)


def _onset(text: str | None, where: str) -> int | None:
    if text is None or not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise LabelsError(f"{where}: onset {text!r} is not a row; write a whole number from 0, or nothing") from None


class LabelTotals(msgspec.Struct, frozen=True):
    """The runs of one label."""

    label: str
    runs: int
    rows: int
    warned: int  # runs with a warning or worse
    critical: int  # runs with a critical alarm: the policy may have acted
    onsets: int = 0  # runs whose onset is known
    found: int = 0  # of them, those with an alarm at the onset or later
    delay_median_rows: float | None = None  # from the onset to the first alarm at or after it
    delay_p95_rows: float | None = None


class Score(msgspec.Struct, frozen=True):
    """All labelled runs."""

    shares: list[LabelTotals]  # by label, the healthy first
    bad: int  # runs
    bad_warned: int
    healthy_rows: int
    false_alarms: int  # warnings and worse on healthy runs
    false_alarms_per_million_rows: float

    @property
    def recall(self) -> float:
        """The share of the bad runs with a warning or worse; NaN where there is none."""
        return self.bad_warned / self.bad if self.bad else math.nan

    def healthy(self) -> LabelTotals:
        """The healthy runs."""
        return next((s for s in self.shares if s.label == HEALTHY), LabelTotals(HEALTHY, 0, 0, 0, 0))


def score(results: Iterable[tuple[Label, Result]]) -> Score:
    """How well the core assessed labelled runs."""
    by_label: dict[str, list[tuple[Label, Result]]] = {}
    for one in results:
        by_label.setdefault(one[0].label, []).append(one)
    names = sorted(by_label, key=lambda name: (name != HEALTHY, name))
    shares = [_share(name, by_label[name]) for name in names]
    bad = [one for name in names for one in by_label[name] if one[0].bad]
    healthy = [result for _, result in by_label.get(HEALTHY, [])]
    rows = sum(result.rows for result in healthy)
    alarms = sum(f.severity is not Severity.INFO for result in healthy for f in result.fired)
    return Score(
        shares=shares,
        bad=len(bad),
        bad_warned=sum(warned(result) for _, result in bad),
        healthy_rows=rows,
        false_alarms=alarms,
        false_alarms_per_million_rows=alarms / max(rows, 1) * 1e6,
    )


def warned(result: Result) -> bool:
    """True where a warning or worse fired."""
    return result.worst is not None and result.worst is not Severity.INFO


def delay_rows(label: Label, result: Result) -> int | None:
    """Rows from the onset to the first alarm at or after it; None: no onset is known, or there was no alarm."""
    if label.onset_row is None:
        return None
    onset = label.onset_row
    after = [f.row for f in result.fired if f.row >= onset and LEVELS[f.severity] >= LEVELS[Severity.WARNING]]
    return min(after) - onset if after else None


def _share(name: str, group: list[tuple[Label, Result]]) -> LabelTotals:
    delays = sorted(delay for one in group if (delay := delay_rows(*one)) is not None)
    return LabelTotals(
        label=name,
        runs=len(group),
        rows=sum(result.rows for _, result in group),
        warned=sum(warned(result) for _, result in group),
        critical=sum(result.worst is Severity.CRITICAL for _, result in group),
        onsets=sum(label.onset_row is not None for label, _ in group),
        found=len(delays),
        delay_median_rows=statistics.median(delays) if delays else None,
        delay_p95_rows=float(delays[min(int(0.95 * len(delays)), len(delays) - 1)]) if delays else None,
    )


def wrong(label: Label, result: Result, least: Severity) -> str:
    """What is wrong with the result of a labelled run, as a sentence; empty: nothing.

    A healthy run is wrong where anything of `least` or worse fired, a bad one where no warning fired.
    """
    if label.label == HEALTHY and result.worst and LEVELS[result.worst] >= LEVELS[least]:
        return "false alarm: the run is labelled healthy"
    return f"missed: the run is labelled {label.label}" if label.bad and not warned(result) else ""


def labelled(results: Iterable[Result], labels: Mapping[str, Label]) -> list[tuple[Label, Result]]:
    """Each result whose path has a label."""
    return [(labels[result.path], result) for result in results if result.path in labels]
