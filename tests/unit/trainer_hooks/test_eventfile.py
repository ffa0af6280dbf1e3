from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.harness.records import phase
from trainer_hooks.wire.eventfile import EventFile, events_of, events_path, read_events
from trainer_hooks.wire.messages import EventSent
from trainer_hooks.wire.runfolder import RunFolder


def event(seq: int) -> EventSent:
    return EventSent(seq, phase("train"))


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    path = events_path(RunFolder(tmp_path / "night"), 2, 1)
    file = EventFile(path)
    assert all(file.append(event(seq)) for seq in range(1, 6))
    assert [found.seq for found in read_events(path)] == [1, 2, 3, 4, 5]
    assert path.stat().st_mode & 0o077 == 0
    assert events_of(path) == (2, 1, 1)
    assert events_of(events_path(RunFolder(tmp_path), 2, 0, training=3)) == (2, 3, 0)
    assert events_of(tmp_path / "events-2-1.bin") == (2, 1, 1), "as it was named before trainings had numbers"
    assert events_of(tmp_path / "events-x-1.bin") is None


def test_wherever_the_writer_was_killed_the_whole_events_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events-1-0.bin"
    file = EventFile(path)
    ends = []
    for seq in range(1, 5):
        file.append(event(seq))
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert [found.seq for found in read_events(path)] == [seq for seq, end in enumerate(ends, 1) if end <= cut]


def test_behind_a_damaged_event_nothing_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "events-1-0.bin"
    file = EventFile(path)
    file.append(event(1))
    start = path.stat().st_size
    file.append(event(2))
    file.append(event(3))
    data = bytearray(path.read_bytes())
    data[start + 4] = 0xC1
    path.write_bytes(data)
    assert [found.seq for found in read_events(path)] == [1]


def test_a_full_file_takes_no_more_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "events-1-0.bin"
    file = EventFile(path, bytes_max=100)
    kept = sum(file.append(event(seq)) for seq in range(1, 50))
    assert 0 < kept < 49
    assert file.left_out == 49 - kept
    assert path.stat().st_size <= 100
    assert len(read_events(path)) == kept


def test_acknowledged_events_leave_no_file_behind(tmp_path: Path) -> None:
    path = tmp_path / "events-1-0.bin"
    file = EventFile(path)
    file.append(event(1))
    file.clear()
    assert read_events(path) == []
    file.append(event(2))
    assert [found.seq for found in read_events(path)] == [2]
    file.clear()
    file.close()
    assert not path.exists()


def test_a_write_that_fails_half_way_leaves_the_file_whole(tmp_path: Path) -> None:
    """A limit on file sizes lets the kernel write the first bytes and refuse the rest, as a full disk does."""
    path = tmp_path / "events-1-0.bin"
    file = EventFile(path)
    file.append(event(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="events-1-0"):
            file.append(event(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.append(event(3))
    assert [found.seq for found in read_events(path)] == [1, 3]
