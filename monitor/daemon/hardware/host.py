"""Reads memory and environment of a run's processes. Blocking, for a worker thread. An edge file.

A tree costs 2.5 ms, since psutil asks every process of the host for its parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import msgspec
import psutil

from monitor.daemon.hardware.reading import HostMemory, Vendor, Visible


class RunHost(msgspec.Struct, frozen=True):
    """One run on this host."""

    memory: HostMemory
    visible: frozenset[Visible] = frozenset()  # of those processes that set it; none: all devices


class RunProcesses(msgspec.Struct, frozen=True):
    """One run: the first of its processes (0: none), and whose devices its environment speaks of."""

    pid: int
    vendor: Vendor = Vendor.NVIDIA


def measure(runs: Mapping[str, RunProcesses]) -> dict[str, RunHost]:
    """By run, of its process tree. What can't be read (it is gone, or somebody else's) is left out."""
    machine = psutil.virtual_memory()
    return {run: _one(asked, machine.available, machine.total) for run, asked in runs.items()}


def _one(asked: RunProcesses, available: int, total: int) -> RunHost:
    rss: int | None = None
    visible: set[Visible] = set()
    for process in _tree(asked.pid):
        with contextlib.suppress(psutil.Error):  # it has just gone, or is not ours to read
            rss = (rss or 0) + process.memory_info().rss
            if (limited := Visible.of(process.environ(), asked.vendor)) is not None:
                visible.add(limited)
    return RunHost(HostMemory(rss, available, total), frozenset(visible))


def _tree(pid: int) -> list[psutil.Process]:
    if not pid:
        return []
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []
