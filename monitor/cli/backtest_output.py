"""How a backtest is written: lines for people, JSON and JUnit for programs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from monitor.core.format import plural
from monitor.core.model import ActionKind, Severity
from monitor.recorded.backtest import LEVELS, BacktestTotals, Fired, IncidentDecision, Result, Unread, totals
from monitor.recorded.backtest.labelled_runs import Label, LabelTotals, Score, labelled, score, wrong

LINES_MAX = 12  # alarms shown of one run, and decisions; --json has them all
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]")
FREE = "costs nothing"
COST: dict[str, str] = {ActionKind.STOP: FREE, ActionKind.ADJUST: FREE}  # what a rollback costs is counted


@dataclass
class Report:
    """Everything a backtest found."""

    results: list[Result]
    errors: list[Unread]
    labels: dict[str, Label] | None  # by path; None: there are none
    fail_on: str

    @cached_property
    def totals(self) -> BacktestTotals:
        return totals(self.results)

    @cached_property
    def score(self) -> Score | None:
        """How well labelled runs were judged; None: there are no labels."""
        return None if self.labels is None else score(labelled(self.results, self.labels))

    @cached_property
    def failed(self) -> list[Result]:
        """The runs that --fail-on is about."""
        return [result for result in self.results if self.failures(result)]

    def failures(self, result: Result) -> list[str]:
        """Why a run fails, by its label or by what fired; empty: it does not."""
        if self.fail_on == "never":
            return []
        least = Severity(self.fail_on)
        lines = [_fired_line(f).strip() for f in result.fired if LEVELS[f.severity] >= LEVELS[least]]
        if least is Severity.INFO:
            lines += _more(result.infos_left_out)
        if self.labels is None:
            return lines
        label = self.labels.get(result.path)
        text = wrong(label, result, least) if label else ""
        return [text, *lines] if text else []

    def lines(self) -> list[str]:
        """Every run and the sums, for people."""
        lines = [line for result in self.results for line in result_lines(result, self._label(result))]
        return [*lines, *totals_lines(self.totals, self.errors), *(score_lines(self.score) if self.score else [])]

    def _label(self, result: Result) -> str:
        label = self.labels.get(result.path) if self.labels else None
        return f", labelled {label.label}" if label else ""

    def json_text(self) -> str:
        """Everything, for programs."""
        whole = {
            "totals": self.totals,
            "score": self.score,
            "runs": self.results,
            "errors": [e.text for e in self.errors],
        }
        return msgspec.json.encode(whole).decode()


def result_lines(result: Result, label: str = "") -> list[str]:
    """One run: a line, and one for each alarm and decision."""
    unit = "epochs" if result.granularity == "epoch" else "rows"
    restarts = f", {plural(result.generations - 1, 'restart')}" if result.generations > 1 else ""
    short = f", {result.truncated}" if result.truncated else ""
    short += f", {result.defects} DEFECTS OF TRAINWARDEN: please report them" if result.defects else ""
    alarms = [fired for fired in result.fired if fired.severity is not Severity.INFO]
    state = plural(len(alarms), "alarm") if alarms else "quiet"
    lines = [f"{result.path}: {state} ({result.kind}, {result.rows} {unit}{restarts}{short}{label})"]
    lines.extend(_fired_line(fired) for fired in alarms[:LINES_MAX])
    lines.extend(_more(len(alarms) - LINES_MAX))
    lines.extend(_decision_line(decision) for decision in result.decisions[:LINES_MAX])
    return [*lines, *_more(len(result.decisions) - LINES_MAX, "decisions of the policy")]


def _more(left_out: int, of: str = "") -> list[str]:
    """The line after those that are shown; none where all of them are."""
    return [f"  ... and {left_out} more {of}".rstrip()] if left_out > 0 else []


def _fired_line(fired: Fired) -> str:
    since = f" since row {fired.since_row}" if fired.since_row != fired.row else ""
    where = f"row {fired.row}, step {fired.step}, epoch {fired.epoch}{since}"
    return f"  {fired.severity:<8} {where}: {fired.source}: {fired.summary}"


def _decision_line(decision: IncidentDecision) -> str:
    after = f"the log has {plural(decision.rows_after, 'more row')}"
    if decision.action == ActionKind.ROLLBACK:
        cost = f"; costs {plural(decision.redone_rows, 'row')} to train again"
    else:
        cost = f"; {COST[decision.action]}" if decision.action in COST else ""
    saved = f"; {after}, which a stop would have saved if the run was lost" if cost else f"; {after}"
    where = (
        f"row {decision.row}, step {decision.step}, {plural(decision.row - decision.onset_row, 'row')} after the onset"
    )
    return f"  policy   {where}: {decision.action}: {decision.reason}{cost}{saved}"


def totals_lines(totals: BacktestTotals, errors: list[Unread]) -> list[str]:
    """The sum in two or three lines."""
    warned = f"{totals.runs_warned} with any"
    critical = f"{totals.critical} critical ({totals.critical_per_million_rows:.1f} per million rows)"
    read = f"{plural(totals.runs, 'run')}, {plural(totals.rows, 'row')}"
    lines = [
        f"{read}: {totals.runs_critical} with a critical alarm, {warned}",
        f"{plural(totals.alarms, 'alarm')} ({totals.alarms_per_million_rows:.1f} per million rows), {critical}",
    ]
    unread = [f"{plural(len(errors), 'file')} could not be read"] if errors else []
    return [*(lines if totals.runs or not errors else []), *unread]


def score_lines(score: Score) -> list[str]:
    """A Markdown table: a line for each label, and the two sums that matter."""
    alarms = f"{score.false_alarms}, {score.false_alarms_per_million_rows:.1f} per million"
    return [
        "",
        "| label | runs | rows | with an alert | with an action | onsets found | delay, median | p95 |",
        "|---|---|---|---|---|---|---|---|",
        *(_share_line(share) for share in score.shares),
        "",
        f"bad runs with an alert: {_of(score.bad_warned, score.bad)}",
        f"false alarms on healthy runs: {alarms} of their {plural(score.healthy_rows, 'row')}",
    ]


def _share_line(share: LabelTotals) -> str:
    found = _of(share.found, share.onsets) if share.onsets else "-"
    delays = [_rows(share.delay_median_rows), _rows(share.delay_p95_rows)]
    alarms, acted = _of(share.warned, share.runs), _of(share.critical, share.runs)
    return f"| {' | '.join([share.label, str(share.runs), str(share.rows), alarms, acted, found, *delays])} |"


def _rows(delay: float | None) -> str:
    return "-" if delay is None else f"{delay:g} {'row' if delay == 1.0 else 'rows'}"


def _of(count: int, of: int) -> str:
    return f"{count} of {of} ({count / of:.1%})" if of else "none"


def junit_text(report: Report) -> str:
    """A JUnit document: a case for each run, failed where something of `fail_on` fired or its label says otherwise."""
    results, errors = report.results, report.errors
    suite = Element("testsuite", name="trainwarden backtest", tests=str(len(results) + len(errors)))
    suite.set("failures", str(len(report.failed)))
    suite.set("errors", str(len(errors)))
    if report.score:
        _add_properties(suite, report.score)
    for result in results:
        case = SubElement(suite, "testcase", classname=result.kind, name=_xml(result.path))
        if lines := report.failures(result):
            SubElement(case, "failure", message=_xml(lines[0])).text = _xml("\n".join(lines))
    for error in errors:
        case = SubElement(suite, "testcase", classname="unreadable", name=_xml(error.path))
        SubElement(case, "error", message=_xml(error.text))
    return tostring(suite, encoding="unicode", xml_declaration=True)


def _add_properties(suite: Element, score: Score) -> None:
    properties = SubElement(suite, "properties")
    numbers = {"false_alarms_per_million_healthy_rows": score.false_alarms_per_million_rows}
    for share in score.shares:
        counts = {"runs": share.runs, "warned": share.warned, "critical": share.critical}
        numbers |= {f"{share.label}.{name}": count for name, count in counts.items()}
        delays = {"delay_median_rows": share.delay_median_rows, "delay_p95_rows": share.delay_p95_rows}
        numbers |= {f"{share.label}.{name}": delay for name, delay in delays.items() if delay is not None}
    for name, number in numbers.items():
        SubElement(properties, "property", name=_xml(name), value=f"{number:g}")


def _xml(text: str) -> str:
    """The text without what XML has no way to write."""
    return NOT_XML.sub("?", text)
