"""A run when no daemon answers, or none knows it any more: out of the history and the run's folder. An edge file.

Opens the history for reading only; a daemon that writes to it meanwhile is not disturbed.
"""

from __future__ import annotations

import sqlite3

import msgspec

from monitor.core.engine import Core
from monitor.core.model.curves import Curves
from monitor.core.state.run import RunState
from monitor.history.curve_query import Range, curves
from monitor.history.old_state import run_of
from monitor.history.peek import peek
from monitor.history.recall import FILE_NAME
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.runfolder import run_folder, state_home

HISTORY_UNREADABLE = "can't be read ({}); start the daemon (trainwarden serve): it keeps what is damaged and goes on"


class HistoryUnreadable(Exception):
    """The history is there and can't be read. The text is one sentence for the terminal."""


class LastKnown(msgspec.Struct, frozen=True):
    """A run as it was when somebody last wrote it down, at `as_of_s` (Unix time)."""

    run: RunState
    as_of_s: float
    troubles: list[str] = []  # sentences: what of the history could not be read


def last_known_of(run: str) -> LastKnown | None:
    """The run as the journal leaves it, or as it was when it ended. None: neither knows it.

    Raises HistoryUnreadable, or RunFolderError for what its folder kept.
    """
    path = state_home() / FILE_NAME
    if path.exists():
        try:
            seen = peek(path)
        except sqlite3.Error as error:
            raise HistoryUnreadable(f"{path}: {HISTORY_UNREADABLE.format(error)}") from error
        core = Core(seen.fleet)
        for entry in seen.entries:
            core.feed(entry)
        if found := core.fleet.runs.get(run):
            return LastKnown(found, core.fleet.now_s, seen.troubles)
    return _kept(run)


def _kept(run: str) -> LastKnown | None:
    path = run_folder(run).state
    if not path.exists():
        return None
    try:
        found = run_of(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise RunFolderError(f"{path}: can't be read ({error}); the reports beside it describe it") from error
    return LastKnown(found, found.ended_s or found.opened_s)


def curves_of(asked: Range) -> Curves:
    """Its curves; empty where there is no history. Raises HistoryUnreadable."""
    path = state_home() / FILE_NAME
    if not path.exists():
        return Curves()
    try:
        return curves(path, asked)
    except sqlite3.Error as error:
        raise HistoryUnreadable(f"{path}: {HISTORY_UNREADABLE.format(error)}") from error
