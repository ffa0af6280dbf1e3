"""The vault of one run: takes checkpoint copies out of the spool, has them examined, and keeps those that are named.

Blocking file work for a worker thread. The copy moves first and its manifest is written last, so that a vault manifest
always stands for a whole copy; whatever a crash interrupts, adopting again finishes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from monitor.model import CheckpointExamined, Verdict
from monitor.vault import verify
from trainer_hooks.wire import runfolder
from trainer_hooks.wire.runfolder import Manifest, RunFolder

_MANIFEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.json", re.ASCII)
_COPY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MANIFEST_BYTES_MAX = 64 * 1024


class VaultError(Exception):
    """A copy can't be adopted. Says which, why, and is nobody's but the spool's fault."""


class Vault:
    """The adopted checkpoints of one run. Creating the object touches nothing."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # adopting and clearing away in two threads; examining is outside of it

    def adopt(self, manifest_name: str) -> tuple[Manifest, Path]:
        """Move a copy from the spool into the vault; a copy adopted before is returned as it is.

        Raises VaultError for a name that is no plain file name, a link, a missing or unreadable manifest or copy, and
        OSError where the disk refuses.
        """
        if not _MANIFEST_NAME.fullmatch(manifest_name):
            raise VaultError(f"manifest {ascii(manifest_name)[:80]}: not a plain name ending in .json, refused")
        with self._lock:
            kept = self._folder.vault / manifest_name
            if kept.exists(follow_symlinks=False) if _HAS_FOLLOW else os.path.lexists(kept):
                manifest = _read_manifest(kept)
            else:
                manifest = self._move(manifest_name)
            (self._folder.spool / manifest_name).unlink(missing_ok=True)
            return manifest, self._folder.vault / manifest.file
