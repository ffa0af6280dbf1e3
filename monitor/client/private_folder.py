"""A folder that is this user's alone: the state home and the runtime folder. An edge file: makes folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from monitor.errors import FolderUnsafe
from trainer_hooks.wire import runfolder


def private_folder(folder: Path) -> Path:
    """The folder, made if need be, ours alone. Raises FolderUnsafe where it is not and can't be made so."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(folder)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        remedy = f"set {runfolder.ENV_HOME} to another"
        raise FolderUnsafe(f"{folder}: can't be used as a folder ({why}); {remedy}") from error
    return folder


def _check(folder: Path) -> None:
    link = folder.lstat()
    found = folder.stat()  # a link of our own leads to it
    if not stat.S_ISDIR(found.st_mode) or {link.st_uid, found.st_uid} != {os.geteuid()}:
        raise FolderUnsafe(
            f"{folder}: must be a folder of user {os.geteuid()}, and is not; remove it or set {runfolder.ENV_HOME}"
        )
    if found.st_mode & 0o022:
        raise FolderUnsafe(f"{folder}: others may write to it (mode {found.st_mode & 0o777:o}); run chmod 700 on it")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise FolderUnsafe(f"{folder}: lies on a file system that is read-only; set {runfolder.ENV_HOME} to another")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise FolderUnsafe(f"{folder}: can't be written to (mode {found.st_mode & 0o777:o}); run chmod 700 on it")
