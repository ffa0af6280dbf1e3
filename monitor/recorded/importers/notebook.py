"""Jupyter notebooks: what their cells printed, or the tables that a Trainer of Hugging Face or fastai shows in them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from monitor.recorded.importers import recognise, register
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.documents import parsed
from monitor.recorded.importers.imported_run import Log, NotALog, UnreadableLog

ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.DOTALL | re.IGNORECASE)
CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"<[^>]*>")


def _notebook(head: bytes, _: str) -> bool:
    return head.lstrip().startswith(b"{") and b'"cell_type"' in head and b'"cells"' in head


@register("notebook", rank=8, recognises=_notebook)
def notebook(content: Content, name: str) -> Log:
    """What was printed is a log of a kind of its own; where more losses stand in tables, the tables are."""
    try:
        cells = parsed(content.whole())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs") or ()]
        printed = "\n".join(_text(output.get("text")) for output in outputs)
        tables = "\n".join(line for output in outputs for line in _rows(_html(output)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableLog(name, f"is not a complete notebook ({error}); save it again") from error
    used = tables if _numbers(tables) > _numbers(printed) else printed
    inner = Content.of(used.encode("utf-8", "replace"))
    if not inner.head.strip():
        raise NotALog(name, "is a notebook without any output; run it, and save it with its output")
    return recognise(inner.head, name).reads(inner, name)


def _numbers(text: str) -> int:
    """How many lines below the first loss have a digit."""
    _, loss, below = text.lower().partition("loss")
    return sum(any(c.isdigit() for c in line) for line in below.splitlines()) if loss else -1


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else value if isinstance(value, str) else ""


def _html(output: dict[str, Any]) -> str:
    return _text((output.get("data") or {}).get("text/html"))


def _rows(page: str) -> Iterator[str]:
    """The rows of the tables of a page, tabs between the cells."""
    for row in ROW.findall(page):
        cells = [html.unescape(TAG.sub("", cell)).strip() for cell in CELL.findall(row)]
        if cells:
            yield "\t".join(cells)
