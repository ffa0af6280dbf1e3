"""The samples of a log and its rows, kept where there are few, else read anew each time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from monitor.recorded.importers.imported_run import EndsEarly, Log, Row, Sample

KEPT_SAMPLES_MAX = 50_000  # about 20 MB: of a longer log only the first ones are

Read = Callable[[], Log]


class Samples:
    """The samples of a log, as often as asked: the kept ones, or all of them by reading the file anew."""

    def __init__(self, read: Read) -> None:
        self.log, self.truncated = read(), ""
        self.first: list[Sample] = []
        self._read = read
        samples = iter(self.log.samples)
        try:
            self.first.extend(islice(samples, KEPT_SAMPLES_MAX))
        except EndsEarly as ends:
            self.truncated = str(ends)
        samples = self._noting_the_end(samples)
        names: dict[str, None] = dict.fromkeys(self.log.names)
        more = next(samples, None)
        self.all_kept = more is None
        _add_names(names, self.first)
        if more is not None and not self.log.names:
            _add_names(names, [more])
            _add_names(names, samples)
        self.names = list(names)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.first) if self.all_kept else self._noting_the_end(self._read().samples)

    def _noting_the_end(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        try:
            yield from samples
        except EndsEarly as ends:
            self.truncated = str(ends)


def _add_names(names: dict[str, None], samples: Iterable[Sample]) -> None:
    for _, values in samples:
        if not names.keys() >= values.keys():
            names.update(dict.fromkeys(values))


class ReadAnew(Sequence[Row]):
    """The rows of a log that is too long to be kept."""

    def __init__(self, begin: Callable[[], Iterator[Row]], count: int) -> None:
        self._begin, self._count = begin, count

    def __iter__(self) -> Iterator[Row]:
        return self._begin()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(self._count))]
        return next(islice(self, range(self._count)[at], None))
