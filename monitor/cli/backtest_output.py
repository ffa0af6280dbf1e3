"""How a backtest is told: lines for people, JSON and JUnit for programs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from monitor.backtest import LEVELS, Decision, Fired, Result, Totals
from monitor.model import Severity

LINES_MAX = 12  # alarms shown of one run; --json has them all
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]")


def result_lines(result: Result) -> list[str]:
    """One run: a line, and one for each alarm and decision."""
    unit = "epochs" if result.granularity == "epoch" else "rows"
    restarts = f", {result.generations - 1} restarts" if result.generations > 1 else ""
    short = f", {result.truncated}" if result.truncated else ""
    short += f", {result.defects} DEFECTS OF TRAINWARDEN, please report them" if result.defects else ""
    told = [fired for fired in result.fired if fired.severity is not Severity.INFO]
    state = f"{len(told)} alarms" if told else "quiet"
    lines = [f"{result.path}: {state} ({result.kind}, {result.rows} {unit}{restarts}{short})"]
    lines.extend(_fired_line(fired) for fired in told[:LINES_MAX])
    if len(told) > LINES_MAX:
        lines.append(f"  ... and {len(told) - LINES_MAX} more")
    lines.extend(_decision_line(decision) for decision in result.decisions[:LINES_MAX])
    return lines


def _fired_line(fired: Fired) -> str:
    since = f" since row {fired.since_row}" if fired.since_row != fired.row else ""
    where = f"row {fired.row}, step {fired.step}, epoch {fired.epoch}{since}"
    return f"  {fired.severity:<8} {where}: {fired.source}: {fired.summary}"


def _decision_line(decision: Decision) -> str:
    saved = f"; the log goes on for {decision.rows_after} rows"
    return f"  policy   row {decision.row}, step {decision.step}: {decision.action}: {decision.reason}{saved}"


def totals_lines(totals: Totals, errors: list[str]) -> list[str]:
    """The sum in two or three lines."""
    warned = f"{totals.runs_warned} with any"
    critical = f"{totals.critical} critical ({totals.critical_per_million_rows:.1f} per million rows)"
    lines = [
        f"{totals.runs} runs, {totals.rows} rows: {totals.runs_critical} with a critical alarm, {warned}",
        f"{totals.alarms} alarms ({totals.alarms_per_million_rows:.1f} per million rows), {critical}",
    ]
    return [*lines, f"{len(errors)} files could not be read"] if errors else lines


def json_text(results: list[Result], errors: list[str], totals: Totals) -> str:
    """Everything, for programs."""
    return msgspec.json.encode({"totals": totals, "runs": results, "errors": errors}).decode()


def junit_text(results: list[Result], errors: list[str], fail_on: str) -> str:
    """A JUnit document: a case for each log, failed where something of `fail_on` or worse fired."""
    failed = [(result, _failures(result, fail_on)) for result in results]
    suite = Element("testsuite", name="trainwarden backtest", tests=str(len(results) + len(errors)))
    suite.set("failures", str(sum(bool(lines) for _, lines in failed)))
    suite.set("errors", str(len(errors)))
    for result, lines in failed:
        case = SubElement(suite, "testcase", classname=result.kind, name=_xml(result.path))
        if lines:
            SubElement(case, "failure", message=_xml(lines[0])).text = _xml("\n".join(lines))
    for error in errors:
        case = SubElement(suite, "testcase", classname="unreadable", name=_xml(error.partition(":")[0]))
        SubElement(case, "error", message=_xml(error))
    return tostring(suite, encoding="unicode", xml_declaration=True)


def _failures(result: Result, fail_on: str) -> list[str]:
    if fail_on == "never":
        return []
    least = LEVELS[Severity(fail_on)]
    return list(_lines(result, least))


def _lines(result: Result, least: int) -> Iterator[str]:
    return (_fired_line(fired).strip() for fired in result.fired if LEVELS[fired.severity] >= least)


def _xml(text: str) -> str:
    """The text without what XML has no way to write."""
    return NOT_XML.sub("?", text)
