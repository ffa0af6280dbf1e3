"""What a training recorded, as the steps of a case. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import pairwise
from pathlib import Path

import msgspec

from monitor.core.model import CheckpointExamined
from monitor.recorded.stream import Recorded
from tests.bench.detection.streams import Arrived, Observed, Silence, Step
from trainer_hooks.wire.messages import BatchEnded

SILENCE_S = 2.0  # a longer gap between two records is one; contenders are asked once a second
HANG_FLOOR_S, HANG_INTERVALS = 30.0, 5.0  # the aim: found within the larger


class Seen(msgspec.Struct, frozen=True):
    """The verdict on a checkpoint, and when it was there."""

    at_s: float
    examined: CheckpointExamined


def verdicts_path(stream: Path) -> Path:
    """Where the verdicts on a training's checkpoints lie: beside its stream, a Seen on each line."""
    return stream.with_suffix(".verdicts")


def read_verdicts(data: bytes) -> list[Seen]:
    """The lines of such a file. Raises msgspec.DecodeError for one that is none."""
    return [msgspec.json.decode(line, type=Seen) for line in data.splitlines()]


def steps_of(records: Iterable[Recorded], verdicts: Iterable[Seen] = ()) -> Iterator[Step]:
    """Every record as it arrived, the verdicts on checkpoints, and the silences between them."""
    before_s: float | None = None
    both: tuple[Iterable[Recorded | Seen], ...] = (records, verdicts)
    for came in merge(*both, key=_at_s):
        if before_s is not None and came.at_s - before_s > SILENCE_S:
            yield Silence(before_s, came.at_s - before_s)
        before_s = came.at_s
        if isinstance(came, Seen):
            yield Observed(came.at_s, came.examined)
        elif came.record is not None:
            yield Arrived(came.at_s, came.record, came.rank)


def _at_s(came: Recorded | Seen) -> float:
    return came.at_s


def hang_limit_s(records: Sequence[Recorded], onset: int) -> float:
    """Within how many seconds of silence a hang at batch `onset` is found in time."""
    arrivals = [recorded.at_s for recorded in records if isinstance(recorded.record, BatchEnded)][:onset]
    longest = max((after - before for before, after in pairwise(arrivals)), default=0.0)
    return max(HANG_FLOOR_S, HANG_INTERVALS * longest)
