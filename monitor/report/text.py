"""Numbers, times and foreign texts as people read them, and the few forms of Markdown a report uses. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone

TEXT_CHARS_MAX = 300  # of one foreign text; a path fits
ROWS_MAX = 60  # of one table
HOUR_S = 3600.0
DAY_S = 86400.0
GIB = 1 << 30

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


def count(number: int) -> str:
    """41,163."""
    return f"{number:,}"


def about(number: float) -> str:
    """Two significant digits: a projection promises no more."""
    return f"{float(f'{number:.2g}'):,.0f}"


def percent(share: float) -> str:
    """0.97 %."""
    return f"{100 * share:.2f} %"


def plural(number: int, noun: str) -> str:
    """1 batch, 2 batches."""
    ending = "es" if noun.endswith(("ch", "s")) else "s"
    return f"{count(number)} {noun}{'' if number == 1 else ending}"


def value(number: float | None) -> str:
    """Four significant digits; a dash: not known."""
    return "-" if number is None else f"{number:.4g}"


def size(number: int | None) -> str:
    """Bytes as GiB, two decimals: the figures that the trainer's progress bar shows. A dash: not known."""
    return "-" if number is None else f"{number / GIB:.2f} GiB"


def duration(seconds: float) -> str:
    """58 s, 12 min 5 s, 4 h 53 min, 9.6 days."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < HOUR_S:
        return "{} min {} s".format(*divmod(round(seconds), 60))
    if seconds < 2 * DAY_S:
        return "{} h {} min".format(*divmod(round(seconds / 60), 60))
    return f"{seconds / DAY_S:.1f} days"


def when(unix_s: float) -> str:
    """2026-11-18 08:00:00 UTC; a trainer's clock may be anything."""
    try:
        return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"
