"""Nothing comes any more. What the trainer waits for (loader, collective, lock) can't be told from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from tests.bench.detection.fault import Fault, stop, stop_in
from tests.bench.detection.kinds import HEAVY, LARGE, YOLO
from tests.bench.detection.trainer import SAVE_S, VALIDATION_S

FLOOR_S = 30.0
INTERVALS = 5.0
SLOW = replace(LARGE, name="20 s a batch", batch_s=20.0, hiccups=0.0, batch_spread=0.05, epoch=200)
SHORT = replace(YOLO, name="YOLO-like, short epochs", epoch=300)


def within_s(longest_s: float) -> float:
    """The aim: max(30 s, 5 times the longest interval of the phase), and a tick."""
    return max(FLOOR_S, INTERVALS * longest_s) + 1.0


def _faults() -> Iterator[Fault]:
    hang = partial(Fault, "hang", lasts="for ever", hangs=True)
    train_s, slow_s = 6.0 * YOLO.batch_s * 1.3, SLOW.batch_s * 1.25  # the longest intervals there will be
    yield hang("between batches", "high", before=stop(300.0), kinds=(YOLO, HEAVY), limit_s=within_s(train_s))
    yield hang("between slow batches", "medium", before=stop(600.0), kinds=(SLOW,), limit_s=within_s(slow_s))
    for phase, known_s in (("validate", VALIDATION_S), ("save", SAVE_S)):
        name, before = f"in phase {phase}, after others", stop_in(phase, 600.0)
        yield hang(name, "medium", before=before, kinds=(SHORT,), limit_s=within_s(known_s))
    yield hang("in the first validation", "low", before=stop_in("validate", 3600.0), kinds=(YOLO,), calm=500)
    yield hang("in the first batch", "low", before=stop(3600.0), kinds=(YOLO,), calm=0)


FAULTS = tuple(_faults())
