"""The report of a whole run, as blocks that make a Markdown text or a page. Pure."""

from __future__ import annotations

import re

import msgspec

from monitor.core.model import Incident
from monitor.report import actions, overview, plots, render, stack_text
from monitor.report.chart import Figure
from monitor.report.report_input import ReportInput, shown_in_full

HEADING = re.compile(r"^#", re.MULTILINE)  # no foreign text begins a line


class Block(msgspec.Struct, frozen=True):
    """A piece of Markdown, and the figures below it on a page."""

    markdown: str
    figures: list[Figure] = []
    page_only: bool = False  # a heading that has nothing but figures below it


SECTIONS = (  # in the order in which a person asks; the curves stand after the first
    overview.trainings,
    overview.in_numbers,
    actions.incidents,
    actions.orders,
    actions.time_lost,
    overview.end,
    actions.findings,
    stack_text.of_run,
    actions.checkpoints,
    overview.epochs,
    overview.settings,
)


def blocks(report_input: ReportInput) -> list[Block]:
    """Everything that is known of a run, its latest incidents in full."""
    figure = plots.whole(report_input)
    curves = [Block("## Curves", [figure], page_only=True)] if figure else []
    blocks = [Block("\n".join(lines)) for section in SECTIONS if (lines := section(report_input))]
    head = "\n".join([*overview.heading(report_input), "", *overview.top(report_input)])
    return [Block(head), blocks[0], *curves, *blocks[1:], *_incidents(report_input)]


def _incidents(report_input: ReportInput) -> list[Block]:
    found = []
    for incident in shown_in_full(report_input.training):
        figure = plots.around(report_input, incident)
        head, _, rest = _below(report_input, incident).partition("\n### ")
        found += [Block(head.rstrip(), [figure] if figure else []), Block(f"### {rest}")]
    return found


def _below(report_input: ReportInput, incident: Incident) -> str:
    """The incident's own report, its headings one level deeper."""
    return HEADING.sub("##", render(report_input.run, report_input.training, incident, report_input.now_s).rstrip())


def markdown(blocks: list[Block]) -> str:
    """The blocks as one Markdown text, without the figures."""
    return "\n\n".join(block.markdown for block in blocks if not block.page_only) + "\n"
