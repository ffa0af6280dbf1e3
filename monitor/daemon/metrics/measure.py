"""A metric as a row, and the ways to read its series from a run: by rank, by label, by device. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from monitor.core.state.epochs import totals_of_run
from monitor.core.state.run import RankState, RunState, TrainingState
from monitor.daemon.hardware.reading import Gpu, RunHardware
from trainer_hooks.wire.messages import Counts

RANKS_SHOWN = 8  # above it a gauge shows only the lowest and the highest of all ranks


class Around(Protocol):
    """What a measure may ask beside the run's own state."""

    @property
    def now_s(self) -> float: ...
    @property
    def alerts_pending(self) -> dict[str, int]: ...
    @property
    def receivers(self) -> frozenset[tuple[str, str]]: ...
    @property
    def hardware(self) -> dict[str, RunHardware]: ...


Series = Iterable[tuple[tuple[str, ...], float | None]]
Read = Callable[[RunState, Around], Series]


class Measure(msgspec.Struct, frozen=True):
    """One metric: its name without the prefix, its help, its labels behind `run`, and its series of a run."""

    name: str
    help: str
    read: Read
    labels: tuple[str, ...] = ()


def of_run(value: Callable[[RunState, Around], float | None]) -> Read:
    """One value of the run; None: not known, and then it has no series."""
    return lambda run, around: [((), value(run, around))]


def by_rank(value: Callable[[RankState], float | None]) -> Read:
    """One series a rank; above RANKS_SHOWN the lowest and the highest."""
    return lambda run, _around: _capped({(str(n),): value(rank) for n, rank in sorted(run.training.ranks.items())})


def by_rank_and(labelled: Callable[[RunState, RankState], Iterable[tuple[str, float | None]]]) -> Read:
    """As `by_rank`, with one label more in front of the rank."""

    def read(run: RunState, _around: Around) -> Series:
        found: dict[tuple[str, ...], float | None] = {}
        for n, rank in sorted(run.training.ranks.items()):
            for label, value in labelled(run, rank):
                found[label, str(n)] = value
        return _capped(found)

    return read


def _capped(found: dict[tuple[str, ...], float | None]) -> Series:
    if len({labels[-1] for labels in found}) <= RANKS_SHOWN:
        return list(found.items())
    together: dict[tuple[str, ...], list[float]] = {}
    for labels, value in found.items():
        if value is not None:
            together.setdefault(labels[:-1], []).append(value)
    return [
        ((*front, name), pick(values))
        for front, values in together.items()
        for name, pick in (("min", min), ("max", max))
    ]


def last(signal: str) -> Read:
    """Of the last batch of each rank."""
    return by_rank(lambda rank: of_last_batch(rank, signal))


def of_last_batch(rank: RankState, signal: str) -> float | None:
    """A number of the last batch by its name on the wire; None: not known."""
    value = getattr(rank.last.batch, signal) if rank.last else None
    return None if value is None else float(value)


def count(field: str) -> Read:
    """A total of the whole run."""
    return of_run(lambda run, _around: getattr(totals_of_run(run), field))


def counts(fields: dict[str, str]) -> Read:
    """Label value -> field of Counts."""

    def read(run: RunState, _around: Around) -> Series:
        counts: Counts = totals_of_run(run)
        return [((label,), getattr(counts, field)) for label, field in fields.items()]

    return read


def of_trainings(of: Callable[[TrainingState], dict[str, int]], expected: Iterable[str]) -> Read:
    """As `by_key`, of a dict that each training has: their sum."""
    return by_key(lambda run: sum_by_key(of(training) for training in run.trainings.values()), expected)


def by_key(of: Callable[[RunState], dict[str, int]], expected: Iterable[str]) -> Read:
    """A dict whose keys are label values joined by "/"; those expected show as 0 before they happen."""
    zeros = dict.fromkeys(expected, 0)
    return lambda run, _around: [(tuple(key.split("/", 1)), value) for key, value in sorted((zeros | of(run)).items())]


def sum_by_key(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The dicts added up, key by key."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def by_gpu(value: Callable[[Gpu], float | None]) -> Read:
    """One series a device that the run may use, by its index."""
    return lambda run, around: [((str(gpu.device.index),), value(gpu)) for gpu in _gpus(run, around)]


def by_gpu_and(labelled: Callable[[Gpu], Iterable[tuple[str, float | None]]]) -> Read:
    """As `by_gpu`, with one label more behind the device."""
    return lambda run, around: [
        ((str(gpu.device.index), label), value) for gpu in _gpus(run, around) for label, value in labelled(gpu)
    ]


def _gpus(run: RunState, around: Around) -> tuple[Gpu, ...]:
    found = around.hardware.get(run.spec.run)
    return found.gpus if found else ()
