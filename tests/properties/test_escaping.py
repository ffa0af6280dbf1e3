"""Whatever a training calls its things, a report holds it as text."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from monitor.report import compare
from monitor.report.page import page
from monitor.report.text import visible
from monitor.report.whole import blocks, markdown
from tests.harness.pages import assert_inert
from tests.harness.report_inputs import HOSTILE, hostile

PIECES = (
    "<", ">", "&", '"', "'", "`", "*", "_", "[", "]", "(", ")", "!", "|", "\\", "#", "~", "$", "\n", "\r", "\t", "\0",
    "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\u2028", "\U000e0041", "javascript:", "data:text/html,",
    "<script>", "</script>", "<svg onload=", "-->", "]]>", "&lt;", "&#60;", "&#x3c;", "http://e.example",
    "www.e.example", "a@e.example", "](", "![", "---", "===", "- ", "1. ", "> ", "    ",
    "```", "{", "}", "url(", "%", "A", "ä", "夜", "\x1b[2J",
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=400), st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False, "html": True})


@given(TEXTS)
@example(HOSTILE)
@settings(max_examples=40, deadline=None)
def test_no_text_becomes_anything_else_on_a_page(text: str) -> None:
    assert_inert(page(text, blocks(hostile(text))))
    assert_inert(page(text, compare.blocks(hostile(text), hostile(text))))


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_no_text_becomes_anything_else_in_markdown(text: str) -> None:
    """Read by the Markdown of a code host, which also knows HTML, links and code."""
    plain, told = hostile("name"), hostile(text)
    for before, after in (
        (blocks(plain), blocks(told)),
        (compare.blocks(plain, plain), compare.blocks(told, told)),
    ):
        assert _tags(markdown(after)) <= _tags(markdown(before)) | {"br"}


def _tags(text: str) -> set[str]:
    return set(re.findall(r"<([a-z0-9]+)", MARKDOWN.render(text)))


@given(st.text())
def test_a_text_shown_is_one_line_of_bounded_length_that_can_be_encoded(text: str) -> None:
    shown = visible(text)
    assert len(shown) <= 300 * len(r"\u0000")
    assert "\n" not in shown
    assert shown.encode().decode() == shown
