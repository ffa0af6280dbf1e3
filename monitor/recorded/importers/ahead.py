"""What comes next in a log: is a step that goes back another writer's, is a loss that is missing gone? Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from monitor.recorded.importers.imported_run import Sample

AHEAD_SAMPLES_MAX = 256  # what may be looked at before a row is assessed
CATCH_UP_ROWS = 8  # another writer is this many rows behind at most
WRITERS_SAMPLES = 32  # after the step went back; in them it does so again
REPEATED_MIN = 3  # times: restarts do not follow each other so closely

Place = tuple[float, float]  # epoch and step
ROWS_BEFORE_MIN = 5  # with a loss, before one can be missed
GONE_SAMPLES_MIN = 3  # without a loss, where every row before had one


class Ahead:
    """The samples of a log in order, the next ones of which can be looked at."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = iter(samples)
        self._next: deque[Sample] = deque()

    def __iter__(self) -> Iterator[Sample]:
        waiting, samples = self._next, self._samples
        while True:
            if waiting:
                yield waiting.popleft()
                continue
            for sample in samples:
                yield sample
                if waiting:
                    break
            else:
                if not waiting:
                    return

    def peek(self, count: int) -> Iterator[Mapping[str, float]]:
        """The numbers of the next `count` samples, fewer at the end; they stay the next ones."""
        for at in range(min(count, AHEAD_SAMPLES_MAX)):
            if at == len(self._next):
                sample = next(self._samples, None)
                if sample is None:
                    return
                self._next.append(sample)
            yield self._next[at][1]


def catches_up(places: Iterable[Place], reached: Place, *, known: bool) -> bool:
    """True where a place in the log (epoch and step) that is before `reached` is another writer's.

    It is, where the places get there again at once, and then fall behind and catch up again and again.

    Args:
        places: of the samples that follow.
        reached: the latest place so far.
        known: other writers were found in this log before: catching up once will do, and the log may end before.
    """
    behind, caught = 1, 0
    for place in places:
        if place < reached:
            behind += 1
            if behind > CATCH_UP_ROWS:
                return False
            continue
        caught += behind > 0
        if caught >= (1 if known else REPEATED_MIN):
            return True
        reached, behind = place, 0
    return known


class Gaps:
    """How many samples without a loss there are between two rows: more than ever, and the loss is gone."""

    def __init__(self) -> None:
        self.rows = self.longest = self.now = 0

    def end(self) -> None:
        """A row with a loss ends a gap."""
        self.longest, self.now = max(self.longest, self.now), 0

    def missing(self) -> None:
        """A sample that is like a row, but has no loss."""
        self.now += 1

    @property
    def may_be_gone(self) -> bool:
        """The first of its gap, after rows enough to know how long a gap is."""
        return self.now == 1 and self.rows >= ROWS_BEFORE_MIN

    @property
    def needed(self) -> int:
        """As many samples without a loss make it gone, this one included."""
        return max(GONE_SAMPLES_MIN, 3 * self.longest + 1)


def stays_away(ahead: Ahead, losses: frozenset[str], like: frozenset[str], count: int) -> bool:
    """True where `count` samples are like the rows before but for their losses, before a loss comes again."""
    found = 0
    for values in ahead.peek(AHEAD_SAMPLES_MAX):
        if not losses.isdisjoint(values):
            return False
        found += bool(values) and values.keys() <= like
        if found >= count:
            return True
    return False
