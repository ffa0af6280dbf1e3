"""The files of a backtest: which are meant, and what each of them came to. Reads files, in processes if asked to."""

from __future__ import annotations

import gc
import glob
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
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
from monitor.recorded.importers.mlflow import joined
from monitor.recorded.importers.several_runs import SeveralRuns

SUFFIXES = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt", ".out", ".err", ".ipynb"}
)  # looked at in folders
FILES_PER_BATCH = 8  # that one process is given at once


class File(msgspec.Struct, frozen=True):
    """A file to look at."""

    path: Path
    named: bool  # False: it was found in a folder, and may be no log at all
    found_in: str = ""  # the folder or pattern


class How(msgspec.Struct, frozen=True):
    """What holds for every file."""

    policy: str | None  # as JSON; None: the default one, and for a history the one its runs were under
    mapping: dict[str, Role] = {}
    run: str | None = None  # of a history, only this one


class Outcome(msgspec.Struct, frozen=True):
    """What one file came to: a history may hold many runs."""

    results: list[Result]
    errors: list[Unread]
    passed_by: Unread | None = None  # it was found in a folder, and is no log


def expanded(paths: Iterable[str]) -> list[File]:
    """Every file that is meant by the paths, folders and patterns. Raises Failure for a pattern nothing matches."""
    found: dict[Path, File] = {}
    for path in paths:
        named = Path(path)
        if named.is_dir() and (named / FILE_NAME).is_file():
            found[named / FILE_NAME] = File(named / FILE_NAME, named=True)
        elif named.is_dir():
            for file in [named, *sorted(named.rglob("*"))]:
                if _may_be_a_log(file):
                    found.setdefault(file, File(file, named=False, found_in=path))
        elif named.exists() or not glob.has_magic(path):
            found[named] = File(named, named=True)
        else:
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute patterns, which pathlib refuses
            if not matches:
                raise Failure(f"{path}: no file matches", EXIT_USAGE)
            for match in map(Path, matches):
                if match.is_file():
                    found.setdefault(match, File(match, named=False, found_in=path))
    return list(found.values())


def _may_be_a_log(file: Path) -> bool:
    if file.is_dir():
        return is_mlflow(file)
    ends = [suffix.lower() for suffix in file.suffixes[-2:] if suffix.lower() != ".gz"][-1:]
    return file.is_file() and (bool(SUFFIXES.intersection(ends)) or "tfevents" in file.name or file.name == FILE_NAME)


def without_logs(files: Sequence[File], found: Sequence[Outcome]) -> list[Unread]:
    """Every file of a folder or pattern in which there was no log at all; the folder itself where it has no file."""
    read = {file.found_in for file, outcome in zip(files, found, strict=True) if outcome.passed_by is None}
    passed_by = [(file, outcome.passed_by) for file, outcome in zip(files, found, strict=True)]
    return [unread for file, unread in passed_by if unread is not None and file.found_in not in read]


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
        unread = _unread(file.path, str(error))
        return Outcome([], [unread]) if file.named else Outcome([], [], unread)
    except SeveralRuns as error:
        return _of_several(file, how, error)
    except UnreadableLog as error:
        return Outcome([], [_unread(file.path, str(error))])
    except OSError as error:
        return Outcome([], [_unread(file.path, f"{file.path}: can't be read ({error.strerror}); check the path")])


def _of_several(file: File, how: How, several: SeveralRuns) -> Outcome:
    """Each run of a table by itself."""
    hows = [msgspec.structs.replace(how, mapping={**how.mapping, loss: Role.LOSS}) for loss in several.losses.values()]
    found = [outcome(file, one) for one in hows]
    results = [
        msgspec.structs.replace(result, path=f"{result.path}#{run}")
        for run, one in zip(several.losses, found, strict=True)
        for result in one.results
    ]
    return Outcome(results, [error for one in found for error in one.errors])


def _unread(path: Path, text: str) -> Unread:
    return Unread(str(path), text)


def recording(path: Path, mapping: dict[str, Role]) -> ImportedRun | Recording:
    """The run that a file holds. Raises OSError, or UnreadableLog."""
    content = Content.of(mlflow_bytes(path)) if path.is_dir() and is_mlflow(path) else Content(lambda: path.open("rb"))
    return read_recording(content, str(path), mapping or None)


def is_mlflow(folder: Path) -> bool:
    """True for the `metrics` folder of a run of MLflow."""
    return folder.name == "metrics" and (folder.parent / "meta.yaml").is_file()


def mlflow_bytes(folder: Path) -> bytes:
    """Every metric of a run of MLflow. Raises OSError."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return joined({str(file.relative_to(folder)): file.read_bytes() for file in files})


def _is_history(path: Path) -> bool:
    if path.is_dir():
        return False
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
