"""Questions to the history, over a connection that can only read. Blocking: for a worker thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from monitor.core.model.channel import TimelineLine

TIMELINE_LINES_MAX = 500


def lenient(text: bytes) -> str:
    """A text column: a damaged byte in one row must not make every row unreadable."""
    return text.decode(errors="backslashreplace")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read. Raises sqlite3.Error where there is no history, or none that can be read."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
    db.text_factory = lenient
    try:
        yield db
    finally:
        db.close()


def timeline(path: Path, run: str, after: int) -> list[TimelineLine]:
    """The lines of a run behind line `after`, the daemon's own included, at most TIMELINE_LINES_MAX, oldest first.

    An empty `run`: the lines of every run.
    """
    whose = "run IN (?1, '')" if run else "?1 = ''"
    sql = f"SELECT n, run, at_s, severity, text FROM story WHERE {whose} AND n > ?2 ORDER BY n LIMIT ?3"  # noqa: S608
    with reading(path) as db:
        return [TimelineLine(*row) for row in db.execute(sql, (run, after, TIMELINE_LINES_MAX))]
