"""What comes next in a log: is a step that goes back another writer's, is a loss that is missing gone? Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from monitor.recorded.importers.imported_run import Sample

AHEAD_SAMPLES_MAX = 256  # what may be looked at before a row is assessed
WRITERS_SAMPLES = 32  # after the step went back, in which other writers are seen again
BEHIND_PLACES_MAX = 3  # as many logged steps another writer is behind at most
AGAIN_MIN = 3  # rows beside the first whose step is not a later one; a restart that redoes a row has one
ADVANCED_MIN = 2

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


def others_write(places: Iterable[Place], tops: Iterable[Place], *, known: bool) -> bool:
    """True where a place in the log (epoch and step) that goes back is that of another process which writes too.

    It is, where it is not far behind, the places go on, and they repeat themselves or go back again and again. A later
    one that is far behind is a restart: nothing is seen beyond it.

    Args:
        places: the one that goes back, and those that follow.
        tops: the latest places before it, each later than the one before.
        known: other writers were found in this log before; then it may end before they are seen again.
    """
    highest = deque(tops, maxlen=BEHIND_PLACES_MAX + 1)
    again = advanced = 0
    for place in places:
        if place > highest[-1]:
            highest.append(place)
            advanced += 1
        elif place < highest[0] and len(highest) > BEHIND_PLACES_MAX:
            if not again + advanced:
                return False
            break
        else:
            again += 1
    return known or (again > AGAIN_MIN and advanced >= ADVANCED_MIN)


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
