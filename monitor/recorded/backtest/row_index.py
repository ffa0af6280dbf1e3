"""Which row of a recording a position of the core is, without keeping the rows. Pure."""

from __future__ import annotations

from collections import deque

from monitor.core.model import Position
from monitor.recorded.importers.imported_run import Row

RECENT_ROWS_MAX = 1024  # a finding is of the last row, or of one a little before it
BEFORE = Row(index=0, line=1, generation=1, epoch=1, batch=0, step=0)  # stands for the time before the first row


class RowIndex:
    """The rows so far: a stretch of rows whose counts go up one by one is one entry."""

    def __init__(self) -> None:
        self.count, self.last = 0, BEFORE
        self._stretches: list[tuple[int, int, int]] = []  # generation, and count and index of the first row
        self._first = BEFORE
        self._next = (0, 0)  # generation and count that go on with the last stretch
        self._recent: deque[Row] = deque(maxlen=RECENT_ROWS_MAX)

    def add(self, row: Row, count: int) -> None:
        """The next row, and how many batches its generation had with it."""
        if (row.generation, count) != self._next:
            self._stretches.append((row.generation, count, row.index))
        if not self.count:
            self._first = row
        self._next = (row.generation, count + 1)
        self.count, self.last = self.count + 1, row
        self._recent.append(row)

    def find(self, generation: int, count: int) -> int | None:
        """The index of the latest row at which the generation had `count` batches; None: there was none."""
        ends = self.count
        for of, first, index in reversed(self._stretches):
            if of == generation and first <= count < first + ends - index:
                return index + count - first
            ends = index
        return None

    def index(self, at: Position) -> int:
        """The index of a position's row; of the first row for a position before any."""
        found = self.find(at.generation, at.count)
        return self._first.index if found is None else found

    def row(self, at: Position) -> Row:
        """The row of a position, or the last one where it was long ago; the first for a position before any."""
        found = self.find(at.generation, at.count)
        if found is None:
            return self._first
        back = found - self.last.index - 1
        return self._recent[back] if -back <= len(self._recent) else self.last
