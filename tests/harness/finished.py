"""A simulated run as it lies on disk when no daemon runs: its folder, and its journal in the history."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.core.model import Entry, Input, RunOpened
from monitor.history.recall import open_history
from monitor.history.transaction_rows import Commit
from tests.harness.simulation import Simulation
from trainer_hooks.wire import document_io
from trainer_hooks.wire.runfolder import RunFolder

COMMIT_ENTRIES = 1000


def lay_down(home: Path, simulation: Simulation, run: str = "night", title: str = "") -> RunFolder:
    """Write the entries of a simulation below `home` as the run `run`, later than those that are there already."""
    folder = RunFolder(home / "runs" / run)
    folder.create()
    store, recalled = open_history(home)
    before_s = max([recalled.fleet.now_s, *(entry.now_s for entry in recalled.entries[-1:])])
    later_s = max(before_s - simulation.entries[0].now_s, 0.0)
    entries = [
        Entry(recalled.seq + place, entry.now_s + later_s, _renamed(entry.input, run, title))
        for place, entry in enumerate(simulation.entries, 1)
    ]
    opened = entries[0].input
    assert isinstance(opened, RunOpened)
    document_io.write(folder.spec, opened.spec)
    for first in range(0, len(entries), COMMIT_ENTRIES):
        store.commit(Commit(entries=entries[first : first + COMMIT_ENTRIES]))
    store.close()
    return folder


def _renamed(given: Input, run: str, title: str) -> Input:
    if isinstance(given, RunOpened):
        return msgspec.structs.replace(given, spec=msgspec.structs.replace(given.spec, run=run, title=title))
    return msgspec.structs.replace(given, run=run) if hasattr(given, "run") else given
