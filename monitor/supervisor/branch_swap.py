"""Moves the abandoned branch aside and the plan's checkpoint into its place, before a generation starts. Moves files.

Everything that can fail for good (digests, space, paths) is checked before the journal is written, and changes nothing.
After that there are only renames, and each shows whether it was done. So a repeat after a kill at any point ends the
same.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from monitor.core.model.frameworks import files_of
from monitor.supervisor.copying import copy_verified, digest_of
from monitor.supervisor.start_errors import Held
from trainer_hooks.wire.document_io import sync_folder, write
from trainer_hooks.wire.framework_description import SavedFiles
from trainer_hooks.wire.plan import Checkpoint, Plan
from trainer_hooks.wire.runfolder import RunFolder


class Rename(msgspec.Struct, frozen=True):
    """One file of the step, as absolute paths."""

    source: str
    target: str


class Branch(msgspec.Struct, frozen=True):
    """The journal of the step: branch-<generation left>.json in the run folder."""

    plan: str
    left: int  # the generation that ended
    aside: tuple[Rename, ...]  # files of the abandoned branch; done where the target exists
    into_place: tuple[Rename, ...]  # staged files; done where the source is gone
    remarks: tuple[str, ...] = ()  # sentences for the user
    done: bool = False


@dataclass(frozen=True, slots=True)
class TrainerPaths:
    """The paths below the trainer's folder."""

    save_dir: Path
    left: int
    files: SavedFiles  # of the training's framework

    @property
    def weights(self) -> Path:
        return self.save_dir / self.files.folder

    @property
    def results(self) -> Path | None:
        """None: the framework writes no such file."""
        return self.save_dir / self.files.results if self.files.results else None

    @property
    def abandoned(self) -> Path:
        return self.weights / f"abandoned-g{self.left}"

    @property
    def staging(self) -> Path:
        return self.weights / f".staged-g{self.left}"


def swap_branch(folder: RunFolder, plan: Plan, left: int) -> Branch:
    """Move aside what generation `left` wrote after the plan's checkpoint. Raises Held if it can't."""
    journal_path = folder.root / f"branch-{left}.json"
    branch = _read(journal_path, plan)
    try:
        if branch is None:
            branch = _prepare_cleanly(plan, TrainerPaths(Path(plan.save_dir), left, files_of(plan.framework)))
            write(journal_path, branch)
        if not branch.done:
            _carry_out(branch)
            branch = msgspec.structs.replace(branch, done=True)
            write(journal_path, branch)
    except OSError as error:
        where = error.filename or plan.save_dir
        raise Held(
            f"{where}: cannot move the abandoned branch aside ({error.strerror}). No generation was started."
        ) from error
    return branch


def _read(path: Path, plan: Plan) -> Branch | None:
    """The journal of an earlier try for the same plan; None: there is none."""
    try:
        branch = msgspec.json.decode(path.read_bytes(), type=Branch)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Held(
            f"{path}: is not a readable journal of a move ({error}). Check {plan.save_dir}, then remove this file."
        ) from error
    return branch if branch.plan == plan.id else None


def _prepare_cleanly(plan: Plan, paths: TrainerPaths) -> Branch:
    try:
        return _prepare(plan, paths)
    except (Held, OSError):
        shutil.rmtree(paths.staging, ignore_errors=True)
        raise


def _prepare(plan: Plan, paths: TrainerPaths) -> Branch:
    """Stage the files to put into place and list those to move aside. Changes no existing file."""
    if plan.checkpoint is None:
        raise Held(f"plan {plan.id}: names no checkpoint to go back to. No generation was started.")
    _check(plan.checkpoint, digest_of(Path(plan.checkpoint.path)))
    if not paths.weights.is_dir():
        return Branch(
            plan.id, paths.left, (), (), (f"{paths.weights}: does not exist, so there is nothing to move aside",)
        )
    for path in (paths.weights, paths.abandoned, paths.staging):
        _below(path, paths.save_dir)
    paths.staging.mkdir(mode=0o755, exist_ok=True)
    remarks: list[str] = []
    staged: list[Rename] = []
    aside = _later_epochs(paths, plan.checkpoint.epoch)
    last, best = paths.weights / paths.files.last, paths.weights / paths.files.best
    if not _is(last, plan.checkpoint):  # it is the same file where nothing was saved since
        aside.append(last)
        staged.append(_stage(plan.checkpoint, last.name, paths))
    if plan.best is None or not _is(best, plan.best):
        aside.append(best)
        staged.extend(_stage_best(plan.best, paths, remarks))
    if paths.results and _stage_results(paths.results, paths, plan.checkpoint.epoch):
        aside.append(paths.results)
        staged.append(Rename(str(paths.staging / paths.results.name), str(paths.results)))
    if staged:
        sync_folder(paths.staging)
    else:
        paths.staging.rmdir()
    return Branch(plan.id, paths.left, _moves(aside, paths), tuple(staged), tuple(remarks))


def _moves(aside: Iterable[Path], paths: TrainerPaths) -> tuple[Rename, ...]:
    """The prefix `abandoned-` is needed: a framework's own resume may take the newest file of a name below."""
    here = [path for path in aside if path.exists()]
    for path in here:
        _below(path, paths.save_dir)
    return tuple(Rename(str(path), str(paths.abandoned / f"abandoned-{path.name}")) for path in here)


def _carry_out(branch: Branch) -> None:
    """The renames. Each is skipped where it has been done."""
    touched: set[Path] = set()
    for move in branch.aside:
        source, target = Path(move.source), Path(move.target)
        target.parent.mkdir(mode=0o755, exist_ok=True)
        if not target.exists():
            source.rename(target)
        touched |= {source.parent, target.parent}
    for folder in sorted(touched):  # the old file is safely aside before another takes its name
        sync_folder(folder)
    for move in branch.into_place:
        source, target = Path(move.source), Path(move.target)
        if source.exists():
            source.replace(target)
        touched.add(target.parent)
    for folder in sorted(touched):
        sync_folder(folder)
    for staging in {Path(move.source).parent for move in branch.into_place}:
        if staging.is_dir() and not any(staging.iterdir()):
            staging.rmdir()


def _stage(checkpoint: Checkpoint, name: str, paths: TrainerPaths) -> Rename:
    """A verified copy, ready to take the place of `name`. Raises Held if the bytes are not those of the plan."""
    source, staged = Path(checkpoint.path), paths.staging / name
    _check(checkpoint, copy_verified(source, staged, checkpoint.digest))
    return Rename(str(staged), str(paths.weights / name))


def _check(checkpoint: Checkpoint, found: str) -> None:
    """Raises Held where the digest found is not the one the plan was made for."""
    if found != checkpoint.digest:
        raise Held(
            f"{checkpoint.path}: its bytes are not those the plan chose "
            f"(sha256 {found[:12]}, not {checkpoint.digest[:12]}). "
            "Verify the checkpoints and decide by hand."
        )


def _stage_best(best: Checkpoint | None, paths: TrainerPaths, remarks: list[str]) -> list[Rename]:
    """The best checkpoint of that state. A missing one is only reported: training can go on without it."""
    if best is None:
        return []
    try:
        return [_stage(best, paths.files.best, paths)]
    except (Held, OSError) as error:
        remarks.append(f"Could not put {paths.files.best} back: {error}")
        return []


def _stage_results(results: Path, paths: TrainerPaths, last_epoch: int) -> bool:
    """Stage the results file without the rows after `last_epoch`; False: it has none, or there is no such file."""
    try:
        text = results.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return False
    kept = rows_until(text, last_epoch)
    if kept == text:
        return False
    staged = paths.staging / results.name
    staged.write_text(kept, errors="surrogateescape")
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    return True


def rows_until(text: str, last_epoch: int) -> str:
    """The header and the rows whose first column is an epoch up to `last_epoch`; a torn row is left out."""
    lines = text.splitlines(keepends=True)
    return "".join(line for index, line in enumerate(lines) if index == 0 or _epoch_of(line) <= last_epoch)


def _epoch_of(line: str) -> float:
    first = next(csv.reader(io.StringIO(line)), [""])
    try:
        return float(first[0])
    except (ValueError, IndexError):
        return float("inf")


def _later_epochs(paths: TrainerPaths, last_epoch: int) -> list[Path]:
    pattern, first = re.compile(paths.files.epoch_pattern), paths.files.epoch_first
    names = ((pattern.fullmatch(path.name), path) for path in sorted(paths.weights.iterdir()))
    return [path for match, path in names if match and int(match[1]) - first + 1 > last_epoch]


def _is(path: Path, checkpoint: Checkpoint) -> bool:
    return path.is_file() and digest_of(path) == checkpoint.digest


def _below(path: Path, save_dir: Path) -> None:
    """Raises Held where the path, links followed, lies outside the trainer's folder."""
    if not path.resolve().is_relative_to(save_dir.resolve()):
        raise Held(
            f"{path}: leads out of {save_dir}. Nothing was moved. Replace the link by a folder, or go back by hand."
        )
