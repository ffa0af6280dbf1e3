from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.harness.records import identity
from trainer_hooks.copying import SETTLE_S, TornError, copy_version, version_of
from trainer_hooks.spool import SPOOL_FILES, CopyRequest, Save, Spool, request_of
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.messages import CheckpointSaved, Event, HookTrouble
from trainer_hooks.wire.run_documents import Manifest
from trainer_hooks.wire.runfolder import RunFolder


def request(source: Path, epoch: int = 1, *, is_best: bool = False) -> CopyRequest:
    return request_of(source, Save(epoch, ordinal=1, batches=100, nonfinite_batches=0, is_best=is_best))


def manifests(folder: RunFolder) -> list[Manifest]:
    found = [read(path, Manifest) for path in folder.spool.glob("*.json")]
    return sorted(found, key=lambda manifest: manifest.serial)


def test_a_saved_checkpoint_is_copied_with_its_digest(tmp_path: Path) -> None:
    told: list[Event] = []
    us = identity(tmp_path)
    spool = Spool(us, told.append)
    source = tmp_path / "last.pt"
    source.write_bytes(os.urandom(3_000_000))
    spool.offer(request(source, 3, is_best=True))
    assert spool.finish(30.0)
    (manifest,) = manifests(us.folder)
    copy = us.folder.spool / manifest.file
    assert copy.read_bytes() == source.read_bytes()
    assert manifest.digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (manifest.epoch, manifest.serial, manifest.is_best, manifest.size) == (3, 1, True, 3_000_000)
    assert copy.stat().st_nlink == 1, "never a hard link"
    assert copy.stat().st_mode & 0o077 == 0
    assert told == [CheckpointSaved(told[0].wall_s, f"{manifest.file}.json", 3, manifest.digest)]


def test_a_source_overwritten_after_the_request_is_told_as_torn_and_not_copied(tmp_path: Path) -> None:
    """Its bytes would be whole, but of another epoch than the manifest says."""
    told: list[Event] = []
    us = identity(tmp_path)
    spool = Spool(us, told.append)
    source = tmp_path / "last.pt"
    source.write_bytes(b"epoch 3")
    late = request(source, 3)
    source.write_bytes(b"epoch 4, longer")
    spool.offer(late)
    assert spool.finish(30.0)
    assert manifests(us.folder) == []
    assert [(type(event), getattr(event, "torn", None)) for event in told] == [(CheckpointSaved, True)]


def test_an_overwritten_source_with_a_newer_request_gives_way_in_silence(tmp_path: Path) -> None:
    told: list[Event] = []
    us = identity(tmp_path)
    spool = Spool(us, told.append)
    source = tmp_path / "last.pt"
    source.write_bytes(b"epoch 3")
    late = request(source, 3)
    source.write_bytes(b"epoch 4, longer")
    spool.offer(late)
    spool.offer(request(source, 4))
    assert spool.finish(30.0)
    assert [manifest.epoch for manifest in manifests(us.folder)] == [4]
    assert [getattr(event, "torn", None) for event in told] == [False]
    assert spool.displaced == 1


def test_copies_nobody_adopts_are_bounded_and_best_ones_stay_longest(tmp_path: Path) -> None:
    us = identity(tmp_path)
    spool = Spool(us, lambda event: None)
    source = tmp_path / "last.pt"
    for epoch in range(1, SPOOL_FILES + 4):
        source.write_bytes(f"epoch {epoch}".encode())
        spool.offer(request(source, epoch, is_best=epoch == 2))
        assert spool.finish(30.0)
    kept = [manifest.epoch for manifest in manifests(us.folder)]
    assert kept == [2, *range(5, SPOOL_FILES + 4)]
    assert spool.evicted == 3
    assert len(list(us.folder.spool.iterdir())) == 2 * SPOOL_FILES


def test_a_copy_that_fails_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    told: list[Event] = []
    us = identity(tmp_path)
    us.folder.root.mkdir(parents=True)
    us.folder.spool.write_bytes(b"a file where the folder should be")
    spool = Spool(us, told.append)
    source = tmp_path / "last.pt"
    source.write_bytes(b"weights")
    spool.offer(request(source))
    assert spool.finish(30.0)
    assert told
    assert all(isinstance(event, HookTrouble) for event in told)


def test_a_disk_that_would_be_full_is_left_to_the_trainer(tmp_path: Path) -> None:
    """A sparse file larger than a third of the free space: our copy would take the room of the trainer's next save."""
    told: list[Event] = []
    us = identity(tmp_path)
    spool = Spool(us, told.append)
    source = tmp_path / "last.pt"
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    source.touch()
    os.truncate(source, free // 2)
    spool.offer(request(source))
    assert spool.finish(30.0)
    (trouble,) = told
    assert isinstance(trouble, HookTrouble)
    assert "needed to copy a checkpoint and leave room" in trouble.error
    assert list(us.folder.spool.iterdir()) == []


def test_a_symbolic_link_and_a_pipe_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real.pt"
    real.write_bytes(b"weights")
    (tmp_path / "last.pt").symlink_to(real)
    with pytest.raises(OSError, match="symbolic link") as caught:
        request(tmp_path / "last.pt")
    assert caught.value.errno == errno.ELOOP
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        copy_version(tmp_path / "pipe", version_of(tmp_path / "pipe"), tmp_path / "copy")


def test_a_file_replaced_by_another_of_the_same_size_is_torn(tmp_path: Path) -> None:
    source, other = tmp_path / "last.pt", tmp_path / "other.pt"
    source.write_bytes(b"epoch 3")
    other.write_bytes(b"epoch 4")
    meant = version_of(source)
    other.replace(source)
    with pytest.raises(TornError, match="written to before"):
        copy_version(source, meant, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_file_written_this_moment_is_given_time_to_show_its_next_write(tmp_path: Path) -> None:
    """Where file times are coarse, a second write within the same tick of the clock would go unseen."""
    source = tmp_path / "last.pt"
    source.write_bytes(b"weights")
    copy_version(source, version_of(source), tmp_path / "copy")
    assert time.time() - source.stat().st_mtime >= SETTLE_S


def test_a_file_time_from_a_clock_that_is_ahead_delays_nothing_for_long(tmp_path: Path) -> None:
    source = tmp_path / "last.pt"
    source.write_bytes(b"weights")
    os.utime(source, (time.time() + 86_400, time.time() + 86_400))
    assert copy_version(source, version_of(source), tmp_path / "copy").size == 7


def test_closing_and_opening_again_and_again_loses_no_request(tmp_path: Path) -> None:
    us = identity(tmp_path)
    spool = Spool(us, lambda event: None, files_max=1_000)
    for number in range(40):
        source = tmp_path / f"{number}.pt"
        source.write_bytes(b"weights")
        os.utime(source, (1.0, 1.0))
        spool.offer(request(source, number))
        assert spool.finish(30.0)
    assert [manifest.serial for manifest in manifests(us.folder)] == list(range(1, 41))


def test_half_copies_of_a_killed_generation_are_removed_and_those_of_this_one_are_not(tmp_path: Path) -> None:
    us = identity(tmp_path, generation=2)
    us.folder.create()
    old, own = us.folder.spool / ".g1-r0-00001.pt.part", us.folder.spool / ".g2-r1-00001.pt.part"
    old.touch()
    own.touch()
    source = tmp_path / "last.pt"
    source.write_bytes(b"weights")
    spool = Spool(us, lambda event: None)
    spool.offer(request(source))
    assert spool.finish(30.0)
    assert (old.exists(), own.exists()) == (False, True)
