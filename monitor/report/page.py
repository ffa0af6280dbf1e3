"""A report as one HTML page that needs nothing but itself: no script, no font, no image, no request. Pure.

Foreign texts pass three doors: `text.safe` on their way into the Markdown, a Markdown reader that knows no link, image
or tag, and the escaping of whoever writes the HTML. The page's own policy forbids the browser to load anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from monitor.report.chart import Chart, Figure
from monitor.report.style import STYLE
from monitor.report.svg import COLOURS, svg
from monitor.report.text import visible
from monitor.report.whole import Block

FORBIDDEN = (
    "link", "image", "autolink", "html_inline", "html_block", "reference", "code", "fence", "backticks", "blockquote",
    "lheading", "hr",
)  # fmt: skip
SHORT_CHARS = 24
MARKS = (
    ("bad", "not finite"), ("onset", "onset"), ("opened", "incident opened"), ("order", "order carried out"),
    ("rollback", "rollback"), ("generation", "new generation"), ("epoch", "epoch"),
)  # fmt: skip
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
"""
FOOT = "</main>\n</body>\n</html>\n"


def page(title: str, blocks: Sequence[Block]) -> str:
    """The blocks as a page; `title` is any text."""
    reader = _reader()
    parts = [HEAD.format(title=escape(visible(title)), style=STYLE)]
    charts = 0
    for block in blocks:
        parts.append(reader.render(block.markdown))
        for figure in block.figures:
            parts.append(_figure(figure, charts))
            charts += len(figure.charts)
    return "".join([*parts, FOOT])


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(list(FORBIDDEN))
    reader.add_render_rule("table_open", _table_open)
    reader.add_render_rule("table_close", _table_close)
    reader.add_render_rule("th_open", _th_open)
    reader.add_render_rule("td_open", _td_open)
    return reader


def _table_open(_: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: EnvType) -> str:
    """A wide table scrolls by itself, with the keyboard too, and leaves the page as narrow as the screen."""
    return '<div class="wide" role="region" aria-label="table" tabindex="0"><table>\n'


def _table_close(_: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: EnvType) -> str:
    return "</table></div>\n"


def _th_open(_: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: EnvType) -> str:
    return '<th scope="col">'


def _td_open(_: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: EnvType) -> str:
    """What is short stays on one line; the table scrolls."""
    return '<td class="short">' if len(tokens[place + 1].content) <= SHORT_CHARS else "<td>"


def _figure(figure: Figure, before: int) -> str:
    drawn = [_panel(chart, f"chart-{before + place}") for place, chart in enumerate(figure.charts)]
    caption = f"{escape(visible(figure.caption))} {_marks(figure)}"
    return f"<figure>{''.join(drawn)}<figcaption>{caption}</figcaption></figure>\n"


def _panel(chart: Chart, key: str) -> str:
    names = [
        f'<li><span class="key curve k{place % COLOURS}"></span>{escape(visible(line.name))}</li>'
        for place, line in enumerate(chart.lines)
    ]
    legend = f'<ul class="legend">{"".join(names)}</ul>' if len(names) > 1 else ""
    return f'<div class="wide" role="region" aria-label="chart" tabindex="0">{svg(chart, key)}</div>{legend}'


def _marks(figure: Figure) -> str:
    seen = {mark.kind for chart in figure.charts for mark in chart.marks}
    seen |= {"bad" for chart in figure.charts if chart.bad}
    keys = [f'<li><span class="key {kind}"></span>{name}</li>' for kind, name in MARKS if kind in seen]
    return f'<ul class="legend">{"".join(keys)}</ul>' if keys else ""
