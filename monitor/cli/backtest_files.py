"""The files of a backtest: which are meant, and what each of them came to. Reads files, in processes if asked to."""

from __future__ import annotations

import gc
import glob
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec
from pydantic import ValidationError

from monitor.cli.failure import EXIT_USAGE, Failure
from monitor.core.policy.settings import Policy
from monitor.core.state.journal import Journal
from monitor.history.journals import MAGIC, journals
from monitor.history.recall import FILE_NAME
from monitor.recorded.backtest import Result, Unread, backtest
from monitor.recorded.importers import read_recording
from monitor.recorded.importers.content import Content
from monitor.recorded.importers.imported_run import ImportedRun, NotALog, Recording, Role, UnreadableLog

SUFFIXES = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt", ".out", ".err"}
)  # looked at in folders
FILES_PER_BATCH = 8  # that one process is given at once


class File(msgspec.Struct, frozen=True):
    """A file to look at."""

    path: Path
    named: bool  # False: it was found in a folder, and may be no log at all


class How(msgspec.Struct, frozen=True):
    """What holds for every file."""

    policy: str | None  # as JSON; None: the default one, and for a history the one its runs were under
    mapping: dict[str, Role] = {}
    run: str | None = None  # of a history, only this one


class Outcome(msgspec.Struct, frozen=True):
    """What one file came to: a history may hold many runs."""

    results: list[Result]
    errors: list[Unread]


def expanded(paths: Iterable[str]) -> list[File]:
    """Every file that is meant by the paths, folders and patterns. Raises Failure for a pattern nothing matches."""
    found: dict[Path, bool] = {}
    for path in paths:
        named = Path(path)
        if named.is_dir() and (named / FILE_NAME).is_file():
            found[named / FILE_NAME] = True
        elif named.is_dir():
            found.update((file, False) for file in sorted(named.rglob("*")) if _may_be_a_log(file) if file not in found)
        elif named.exists() or not glob.has_magic(path):
            found[named] = True
        else:
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute patterns, which pathlib refuses
            if not matches:
                raise Failure(f"{path}: no file matches", EXIT_USAGE)
            found.update((Path(match), False) for match in matches if Path(match).is_file())
    return [File(path, named) for path, named in found.items()]


def _may_be_a_log(file: Path) -> bool:
    return file.is_file() and (file.suffix.lower() in SUFFIXES or "tfevents" in file.name or file.name == FILE_NAME)


def outcomes(files: Sequence[File], how: How, jobs: int, what: str = "backtest") -> Iterator[Outcome]:
    """Every file's outcome, in order, with a bar on stderr where that is a terminal."""
    gc.freeze()  # what is imported lives as long as the process: no collection need look through it
    try:
        if jobs == 1 or len(files) == 1:
            yield from _with_progress((outcome(file, how) for file in files), len(files), what)
            return
        with ProcessPoolExecutor(min(jobs, len(files)), get_context("spawn"), initializer=gc.freeze) as pool:
            found = pool.map(outcome, files, [how] * len(files), chunksize=FILES_PER_BATCH)
            yield from _with_progress(found, len(files), what)
    finally:
        gc.unfreeze()


def outcome(file: File, how: How) -> Outcome:
    """What one file came to. Never raises for what is wrong with the file."""
    try:
        if _is_history(file.path):
            return _of_history(file.path, how)
        policy = Policy() if how.policy is None else Policy.model_validate_json(how.policy)
        return Outcome([backtest(recording(file.path, how.mapping), policy)], [])
    except NotALog as error:
        return Outcome([], [_unread(file.path, str(error))] if file.named else [])
    except UnreadableLog as error:
        return Outcome([], [_unread(file.path, str(error))])
    except OSError as error:
        return Outcome([], [_unread(file.path, f"{file.path}: can't be read ({error.strerror}); check the path")])


def _unread(path: Path, text: str) -> Unread:
    return Unread(str(path), text)


def recording(path: Path, mapping: dict[str, Role]) -> ImportedRun | Recording:
    """The run that a file holds. Raises OSError, or UnreadableLog."""
    return read_recording(Content(partial(path.open, "rb")), str(path), mapping or None)


def _is_history(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def _of_history(path: Path, how: How) -> Outcome:
    try:
        found, troubles = journals(path, how.run)
    except sqlite3.Error as error:
        why = f"{path}: this is not a history that can be read ({error}); name {FILE_NAME} of a state folder"
        return Outcome([], [_unread(path, why)])
    errors = [_unread(path, f"{path}: {trouble}") for trouble in troubles]
    if not found:
        which = f"of run {how.run!r}" if how.run else "of any run"
        errors.append(_unread(path, f"{path}: it holds no batch {which}; trainwarden status lists the runs"))
    results = []
    for journal in found:
        try:
            results.append(_of_journal(journal, how.policy))
        except ValidationError:
            why = f"{path}: the policy of run {journal.run!r} has another version; name a policy with --policy"
            errors.append(_unread(path, why))
    return Outcome(results, errors)


def _of_journal(journal: Journal, policy: str | None) -> Result:
    return backtest(journal, Policy.model_validate_json(journal.policy if policy is None else policy))


def _with_progress(found: Iterable[Outcome], total: int, what: str) -> Iterator[Outcome]:
    if total < 2 or not sys.stderr.isatty():
        yield from found
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(found, what, total=total, console=Console(stderr=True), transient=True)
