"""Puts a condemned branch aside and the chosen state in its place, before a generation starts from it. Moves files.

One journaled step: what can fail for good (digests, space, paths) is done before the journal is written and changes
nothing; after it there are only renames, each of which can be seen to be done. Killed anywhere and repeated, it ends
the same.
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
from trainer_hooks.wire.framework import SavedFiles
from trainer_hooks.wire.runfolder import Checkpoint, Plan, RunFolder, sync_folder, write


class Rename(msgspec.Struct, frozen=True):
    """One file of the step, as absolute paths."""

    source: str
    target: str


class Branch(msgspec.Struct, frozen=True):
    """The journal of the step: branch-<generation left>.json in the run folder."""

    plan: str
    left: int  # the generation that was left
    aside: tuple[Rename, ...]  # condemned files; done where the target is there
    into_place: tuple[Rename, ...]  # staged files; done where the source is gone
    notes: tuple[str, ...] = ()  # sentences for the user
    done: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie below the trainer's folder."""

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


def step_back(folder: RunFolder, plan: Plan, left: int) -> Branch:
    """Put aside what generation `left` wrote after the plan's checkpoint. Raises Held, nothing moved, if it can't."""
    journal_path = folder.root / f"branch-{left}.json"
    branch = _read(journal_path, plan)
    try:
        if branch is None:
            branch = _prepare_cleanly(plan, Places(Path(plan.save_dir), left, files_of(plan.framework)))
            write(journal_path, branch)
        if not branch.done:
            _carry_out(branch)
            branch = msgspec.structs.replace(branch, done=True)
            write(journal_path, branch)
    except OSError as error:
        raise Held(
            f"{error.filename or plan.save_dir}: the abandoned branch can't be put aside ({error.strerror})"
        ) from error
    return branch


def _read(path: Path, plan: Plan) -> Branch | None:
    """The journal of an earlier try for the same plan; None: there was none."""
    try:
        branch = msgspec.json.decode(path.read_bytes(), type=Branch)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Held(f"{path}: is no journal of a step back ({error}); look at {plan.save_dir} and remove it") from error
    return branch if branch.plan == plan.id else None


def _prepare_cleanly(plan: Plan, places: Places) -> Branch:
    try:
        return _prepare(plan, places)
    except (Held, OSError):
        shutil.rmtree(places.staging, ignore_errors=True)
        raise


def _prepare(plan: Plan, places: Places) -> Branch:
    """Stage what will be put in place and list what will be put aside. Nothing that exists is changed."""
    if plan.checkpoint is None:
        raise Held(f"plan {plan.id}: names no checkpoint to go back to")
    _check(plan.checkpoint, digest_of(Path(plan.checkpoint.path)))
    if not places.weights.is_dir():
        return Branch(plan.id, places.left, (), (), (f"{places.weights}: is not there, nothing to put aside",))
    for path in (places.weights, places.abandoned, places.staging):
        _below(path, places.save_dir)
    places.staging.mkdir(mode=0o755, exist_ok=True)
    notes: list[str] = []
    staged: list[Rename] = []
    aside = _later_epochs(places, plan.checkpoint.epoch)
    last, best = places.weights / places.files.last, places.weights / places.files.best
    if not _is(last, plan.checkpoint):  # it is, where nothing was saved since
        aside.append(last)
        staged.append(_stage(plan.checkpoint, last.name, places))
    if plan.best is None or not _is(best, plan.best):
        aside.append(best)
        staged.extend(_stage_best(plan.best, places, notes))
    if places.results and _stage_results(places.results, places, plan.checkpoint.epoch):
        aside.append(places.results)
        staged.append(Rename(str(places.staging / places.results.name), str(places.results)))
    if staged:
        sync_folder(places.staging)
    else:
        places.staging.rmdir()
    return Branch(plan.id, places.left, _moves(aside, places), tuple(staged), tuple(notes))


def _moves(aside: Iterable[Path], places: Places) -> tuple[Rename, ...]:
    """`condemned-` in front: a framework's own resume may take the newest file of a name in any folder below."""
    here = [path for path in aside if path.exists()]
    for path in here:
        _below(path, places.save_dir)
    return tuple(Rename(str(path), str(places.abandoned / f"condemned-{path.name}")) for path in here)


def _carry_out(branch: Branch) -> None:
    """The renames. Each is skipped where it has been done."""
    touched: set[Path] = set()
    for move in branch.aside:
        source, target = Path(move.source), Path(move.target)
        target.parent.mkdir(mode=0o755, exist_ok=True)
        if not target.exists():
            source.rename(target)
        touched |= {source.parent, target.parent}
    for folder in sorted(touched):  # the condemned file is safe aside before anything takes its name
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


def _stage(checkpoint: Checkpoint, name: str, places: Places) -> Rename:
    """A verified copy, ready to take the place of `name`. Raises Held if the bytes are not those of the plan."""
    source, staged = Path(checkpoint.path), places.staging / name
    _check(checkpoint, copy_verified(source, staged, checkpoint.digest))
    return Rename(str(staged), str(places.weights / name))


def _check(checkpoint: Checkpoint, found: str) -> None:
    """Raises Held where the digest found is not the one the plan was made for."""
    if found != checkpoint.digest:
        raise Held(
            f"{checkpoint.path}: its bytes are not those the plan chose "
            f"(sha256 {found[:12]}, not {checkpoint.digest[:12]}): nothing was moved; "
            "verify the checkpoints and decide by hand"
        )


def _stage_best(best: Checkpoint | None, places: Places, notes: list[str]) -> list[Rename]:
    """The best checkpoint of that state. Without it the training is no worse off: said, not held."""
    if best is None:
        return []
    try:
        return [_stage(best, places.files.best, places)]
    except (Held, OSError) as error:
        notes.append(f"{places.files.best} was not put back: {error}")
        return []


def _stage_results(results: Path, places: Places, last_epoch: int) -> bool:
    """Stage the results file without the rows after `last_epoch`; False: it has none, or there is no such file."""
    try:
        text = results.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return False
    kept = rows_until(text, last_epoch)
    if kept == text:
        return False
    staged = places.staging / results.name
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


def _later_epochs(places: Places, last_epoch: int) -> list[Path]:
    pattern, first = re.compile(places.files.epoch_pattern), places.files.epoch_first
    found = ((pattern.fullmatch(path.name), path) for path in sorted(places.weights.iterdir()))
    return [path for match, path in found if match and int(match[1]) - first + 1 > last_epoch]


def _is(path: Path, checkpoint: Checkpoint) -> bool:
    return path.is_file() and digest_of(path) == checkpoint.digest


def _below(path: Path, save_dir: Path) -> None:
    """Raises Held where the path, links followed, lies outside the trainer's folder."""
    if not path.resolve().is_relative_to(save_dir.resolve()):
        raise Held(
            f"{path}: leads out of {save_dir}: nothing was moved; replace the link by a folder, or go back by hand"
        )
