"""How far the rows of a log go, gathered row by row. Pure."""

from __future__ import annotations

from monitor.recorded.importers.imported_run import Extent, Row


class Extents:
    """Gathers an Extent."""

    def __init__(self) -> None:
        self.rows = self.epochs = self.batch = 0
        self.last: Row | None = None
        self.ends: list[tuple[int, int]] = []
        self.distinct_epochs = 0

    def add(self, row: Row) -> None:
        """The next row."""
        self.rows += 1
        if self.last is None or row.epoch != self.last.epoch or row.generation != self.last.generation:
            self.distinct_epochs += 1
            self.epochs = max(self.epochs, row.epoch)
        self.batch = max(self.batch, row.batch)
        if row.epoch_ends:
            self.ends.append((row.generation, row.epoch))
        self.last = row

    def extent(self) -> Extent | None:
        """What the rows so far amount to; None: there was none."""
        if self.last is None:
            return None
        return Extent(self.rows, self.epochs, self.batch + 1, self.last, tuple(self.ends))
