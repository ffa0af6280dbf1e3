"""Foreign texts made safe for a page, and the few forms of Markdown a report uses. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

TEXT_CHARS_MAX = 300  # of one foreign text; a path fits
ROWS_MAX = 60  # of one table

# Markdown and HTML that a foreign text could smuggle in; "//", "www." and "@" would become links and mentions.
_ENTITIES = {"&": "&amp;", "<": "&lt;", "@": "&#64;", "://": ":&#47;&#47;", "www.": "www&#46;"}
_ENTITY = re.compile("|".join(re.escape(key) for key in _ENTITIES), re.IGNORECASE)
_BLOCK = re.compile(
    r"^(\d*)(>|#+(?=\s|$)|[-+=](?=[-+=\s]|$)|(?<=\d)[.)](?=\s|$))"
)  # what begins a block, not a sentence
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def safe(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A foreign text on one line, cut to size, in which nothing is markup; control characters are spelt out."""
    marked = _MARKUP.sub(lambda m: "\\" + m[0], visible(text, chars_max).strip())
    marked = _BLOCK.sub(r"\1\\\2", marked)
    return _ENTITY.sub(lambda m: _ENTITIES[m[0].lower()], marked)


def visible(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A foreign text on one line, cut to size, with control characters spelt out; its markup is as it was."""
    cut = text if len(text) <= chars_max else text[: chars_max - 1] + "…"
    return "".join(_spelt(c) if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") else c for c in cut)


def _spelt(character: str) -> str:
    return " " if character in "\n\t" else f"\\u{ord(character):04x}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; cells are safe already. Of more than ROWS_MAX rows the first and the last are shown."""
    shown = list(rows)
    if len(shown) > ROWS_MAX:
        gap = ["…", *[""] * (len(header) - 1)]
        shown = [*shown[: ROWS_MAX // 2], gap, *shown[-ROWS_MAX // 2 :]]
    lines = [header, ["---"] * len(header), *shown]
    return [f"| {' | '.join(cells)} |" for cells in lines]
