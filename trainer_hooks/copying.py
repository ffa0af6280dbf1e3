"""One faithful copy of a file that its owner rewrites in place. Touches files only."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.wire.digest import sha256_of

SETTLE_S = 0.05  # the coarsest clock of file times in Linux ticks every 10 ms; within one tick two writes look like one
CHUNK_BYTES = 1024 * 1024
FREE_COPIES = 2  # room for that many more files of this size must be left: the trainer's own next save comes first
_FICLONE = 0x40049409  # ioctl of linux/fs.h: share the blocks (btrfs, xfs, bcachefs, overlay on them)
_CANT_SHARE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}


class TornError(Exception):
    """The file changed while it was copied, or is not the one that was meant. Says what differed."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """What distinguishes one version of a file from the next."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A finished copy, on disk."""

    size: int
    digest: str  # sha256, hex, of the copy as read back


def version_of(path: Path) -> FileVersion:
    """The version of the file that `path` names now. Raises OSError, ELOOP for a symbolic link."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a symbolic link, name the file itself", str(path))
    return _version(found)


def copy_version(source: Path, wanted: FileVersion, target: Path) -> Copy:
    """A copy of exactly the version `wanted`, flushed to disk; `target` must not exist, and does not after an error.

    Raises TornError where the source is or becomes another version, OSError (ENOSPC before the disk is full).
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hang us
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(source))
        _settle(wanted)
        _compare(reading, source, wanted, "before")
        leave_room(target.parent, wanted.size)
        return _copy(reading, source, wanted, target)
    finally:
        os.close(reading)


def _copy(reading: int, source: Path, wanted: FileVersion, target: Path) -> Copy:
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(writing, "r+b") as file:
            _transfer(reading, writing, wanted.size)
            os.fsync(writing)
            _compare(reading, source, wanted, "while it was copied")
            _check_size(writing, source, wanted)
            os.lseek(writing, 0, os.SEEK_SET)
            return Copy(wanted.size, sha256_of(file))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _check_size(writing: int, source: Path, wanted: FileVersion) -> None:
    copied = os.fstat(writing).st_size
    if copied != wanted.size:
        raise TornError(f"{source}: the copy has {copied} bytes of {wanted.size}")


def _version(found: os.stat_result) -> FileVersion:
    return FileVersion(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _settle(wanted: FileVersion) -> None:
    """Wait until a further write must give the file another time. Bounded, also where a server's clock is ahead."""
    age_s = time.time() - wanted.modified_ns / 1e9
    if age_s < SETTLE_S:
        time.sleep(min(SETTLE_S, SETTLE_S - age_s))


def _compare(reading: int, source: Path, wanted: FileVersion, when: str) -> None:
    if _version(os.fstat(reading)) != wanted or version_of(source) != wanted:
        raise TornError(f"{source}: written to {when}")


def leave_room(folder: Path, size: int) -> None:
    """Raises OSError (ENOSPC) where there is no room for a file of this size and for the trainer's own next ones."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < (1 + FREE_COPIES) * size:
        needed = (1 + FREE_COPIES) * size
        raise OSError(
            errno.ENOSPC, f"{free} bytes free, {needed} needed to copy a checkpoint and leave room", str(folder)
        )


def _transfer(reading: int, writing: int, size: int) -> None:
    """Share the blocks, else let the kernel copy, else copy: the first way that this file system has."""
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
        return
    except OSError as error:
        if error.errno not in _CANT_SHARE:
            raise
    try:
        _transfer_in_kernel(reading, writing, size)
    except OSError as error:
        if error.errno not in _CANT_SHARE:
            raise
        _transfer_by_hand(reading, writing, size)


def _transfer_in_kernel(reading: int, writing: int, size: int) -> None:
    left = size
    while left > 0:
        copied = os.copy_file_range(reading, writing, min(left, 64 * CHUNK_BYTES))
        if not copied:
            return  # the file became shorter: the comparison finds it
        left -= copied


def _transfer_by_hand(reading: int, writing: int, size: int) -> None:
    os.lseek(reading, 0, os.SEEK_SET)
    os.lseek(writing, 0, os.SEEK_SET)
    left = size
    while left > 0 and (chunk := os.read(reading, min(left, CHUNK_BYTES))):
        view = memoryview(chunk)
        while view:
            view = view[os.write(writing, view) :]
        left -= len(chunk)
