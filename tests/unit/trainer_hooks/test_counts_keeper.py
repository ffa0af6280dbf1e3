"""When the last counters of a training are written, and what they say."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.harness.records import batch
from trainer_hooks.counts_keeper import KEEP_S, CountsKeeper
from trainer_hooks.wire.last_counts import LastCounts, last_counts_path, read_last_counts, write_last_counts
from trainer_hooks.wire.messages import BatchEnded, Counts, Sender, TrainingEnded
from trainer_hooks.wire.runfolder import RunFolder


def made(batches: int) -> BatchEnded:
    return msgspec.structs.replace(batch(), counts=Counts(batches=batches))


class Kept:
    """A keeper, and what it has written."""

    def __init__(self, root: Path, rank: int = 0) -> None:
        self.folder = RunFolder(root)
        self.keeper = CountsKeeper(self.folder, Sender("night", 2, rank, "n", 3))

    def look(self, newest: BatchEnded | None, now_s: float, *, alone: bool = True, last: bool = False) -> list[int]:
        self.keeper.keep(lambda: newest, now_s, alone=alone, last=last)
        return [each.counts.batches for each in read_last_counts(self.folder, 2)]


def test_without_a_daemon_they_are_written_now_and_then_and_with_one_only_at_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.look(made(5), 100.0, alone=False) == []
    assert kept.look(made(5), 100.0) == [5]
    assert kept.look(made(6), 100.0 + KEEP_S / 2) == [5]
    assert kept.look(made(7), 100.0 + KEEP_S) == [7]
    assert kept.look(made(9), 106.0, alone=False, last=True) == [9]


def test_what_has_left_the_ring_counts_where_nothing_waits_in_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.keeper.sent([made(3), made(4)])
    kept.keeper.sent([])
    assert kept.look(None, 1.0, last=True) == [4]


def test_the_end_of_a_training_is_written_at_once_and_names_its_exception(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.look(made(5), 100.0)
    kept.keeper.ended(TrainingEnded(7.0, "exception", "KeyError: 'x'", 1, {}))
    assert kept.keeper.has_ended
    assert kept.look(made(5), 100.1, alone=False) == [5]
    (last,) = read_last_counts(kept.folder, 2)
    assert (last.training, last.generation, last.rank, last.how, last.detail) == (3, 2, 0, "exception", "KeyError: 'x'")
    assert last.as_batch().counts.batches == 5


def test_a_training_without_a_batch_leaves_its_end_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.keeper.ended(TrainingEnded(7.0, "finished", "", 1, {}))
    assert kept.look(None, 0.0, alone=False) == [0]


def test_each_rank_has_a_file_and_what_is_damaged_or_renamed_is_left_out(tmp_path: Path) -> None:
    Kept(tmp_path, rank=1).look(made(8), 0.0)
    kept = Kept(tmp_path)
    assert kept.look(made(9), 0.0) == [9, 8]
    last_counts_path(kept.folder, 4, 2).write_text("{half")
    last_counts_path(kept.folder, 5, 2).write_bytes(last_counts_path(kept.folder, 3, 2).read_bytes())
    write_last_counts(kept.folder, LastCounts(training=3, generation=21, rank=0, wall_s=1.0, sent_s=1.0))
    assert [(each.training, each.rank) for each in read_last_counts(kept.folder, 2)] == [(3, 0), (3, 1)]
