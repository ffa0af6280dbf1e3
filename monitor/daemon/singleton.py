"""One daemon per user and host. Edge file: locks before anything is bound, and clears stale sockets under the lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from monitor.client.private_folder import private_folder
from monitor.errors import FolderUnsafe, StateFolderTaken
from trainer_hooks.wire import runfolder

LOCK_NAME = "daemon.lock"


@contextlib.contextmanager
def only_daemon() -> Iterator[Path]:
    """The runtime folder, while this process is the one daemon of it and of the state home.

    A second bind of a live ZeroMQ ipc path steals it silently, so the lock comes first and decides alone. Two locks:
    the sockets and the store may lie in folders that differ between two logins of one user.

    Raises:
        StateFolderTaken: another daemon holds one of the locks.
        FolderUnsafe: a folder belongs to somebody else or others may write to it.
    """
    runtime, home = runfolder.runtime_folder(), runfolder.state_home()
    with contextlib.ExitStack() as held:
        for folder in dict.fromkeys((home, runtime)):
            held.callback(os.close, _lock(private_folder(folder)))
        for socket_path in (runfolder.records_socket(), runfolder.control_socket()):
            _remove_stale_socket(socket_path)
        yield runtime


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock for as long as it is open; the kernel drops it with the process."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = f"{folder / LOCK_NAME}: can't be opened ({error.strerror}); remove it, or free space"
        raise FolderUnsafe(why) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 20, 0).strip()
        os.close(descriptor)
        raise StateFolderTaken(folder, int(owner) if owner.isdigit() else 0) from error
    with contextlib.suppress(OSError):  # a full disk: the lock is held all the same; only the number is not written
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _remove_stale_socket(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
