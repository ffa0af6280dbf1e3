"""Reads how much is free where runs write. Blocking, for a worker thread: a network volume may hang. An edge file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from monitor.core.model import VolumeSeen

Folders = dict[str, str]  # what lies in it, and its path


def measure(runs: dict[str, Folders]) -> dict[str, tuple[VolumeSeen, ...]]:
    """By run, of the volumes that its folders lie on, each once. A folder that is not there is left out."""
    return {run: tuple(_volumes(folders)) for run, folders in runs.items()}


def _volumes(folders: Folders) -> Iterable[VolumeSeen]:
    names: dict[int, list[str]] = {}
    paths: dict[int, str] = {}
    for name, path in folders.items():
        try:
            device = Path(path).stat().st_dev
        except OSError:  # not made yet, or on another host
            continue
        names.setdefault(device, []).append(name)
        paths.setdefault(device, path)
    for device, path in paths.items():
        found = os.statvfs(path)
        yield VolumeSeen(" and ".join(names[device]), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
