"""Which runs died or failed, so that they can be resumed: by their folders, without a daemon. Reads files."""

from __future__ import annotations

import fcntl
import os

from monitor.supervisor.run_documents import LOCK_NAME, still_runs
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.run_documents import Generation, RunOutcome, RunOver, RunSpec
from trainer_hooks.wire.runfolder import RunFolder, run_folder

OFFERED_S = 30 * 24 * 3600.0  # a run that failed longer ago is named by whoever wants it back


def resumable(name: str, now_s: float) -> bool:
    """True where the run died or failed within OFFERED_S, a checkpoint of it was kept, and nothing of it runs."""
    folder = run_folder(name)
    try:
        return _ended_badly(folder, now_s) and _kept_something(folder) and not _lives(folder)
    except (RunFolderError, OSError):  # another supervisor of it, or a file of another version
        return False


def _ended_badly(folder: RunFolder, now_s: float) -> bool:
    if not folder.spec.exists() or not read(folder.spec, RunSpec).argv:
        return False
    if not folder.ended.exists():
        return folder.last_generation() > 0 and now_s - folder.root.stat().st_mtime < OFFERED_S
    over = read(folder.ended, RunOver)
    return over.how == RunOutcome.FAILED and now_s - over.ended_s < OFFERED_S


def _kept_something(folder: RunFolder) -> bool:
    return any(path.is_file() for each in (folder.vault, folder.spool) if each.is_dir() for path in each.iterdir())


def _lives(folder: RunFolder) -> bool:
    """True where its supervisor holds the lock, or its training goes on without one."""
    last = folder.last_generation()
    if last and still_runs(read(folder.generation(last), Generation)):
        return True
    try:
        descriptor = os.open(folder.root / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # nobody ever supervised it
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
