"""The vault of one run: takes checkpoint copies out of the spool, has them examined, and keeps those that are named.

Blocking file work for a worker thread. The copy moves first and its manifest is written last, so that a vault manifest
always stands for a whole copy; whatever a crash interrupts, adopting again finishes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from monitor.core.model import CheckpointExamined, Verdict
from monitor.vault import verify
from trainer_hooks.wire import document_io
from trainer_hooks.wire.run_documents import Manifest
from trainer_hooks.wire.runfolder import RunFolder

_MANIFEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.json")
_COPY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MANIFEST_BYTES_MAX = 64 * 1024


class VaultError(Exception):
    """A copy can't be adopted: which, and why."""


class _Kept(NamedTuple):
    """An adopted copy."""

    path: Path  # of the manifest
    manifest: Manifest
    copy: Path


class Vault:
    """The adopted checkpoints of one run. Creating the object touches nothing."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def adopt(self, manifest_name: str) -> tuple[Manifest, Path]:
        """Move a copy from the spool into the vault; a copy adopted before is returned as it is.

        The manifest returned names the file in the vault. Raises VaultError for a name that is not a plain file name, a
        link, a missing or unreadable manifest or copy, and OSError where the disk refuses.
        """
        if not _MANIFEST_NAME.fullmatch(manifest_name):
            raise VaultError(f"manifest {ascii(manifest_name)[:80]}: not a plain file name ending in .json")
        spooled, kept = self._folder.spool / manifest_name, self._folder.vault / manifest_name
        self._folder.vault.mkdir(mode=0o700, exist_ok=True)  # a run without a supervisor has only what its hook made
        with _locked(self._folder.vault):
            if os.path.lexists(kept):
                manifest = _read_manifest(kept)
            else:
                manifest = self._move(_read_manifest(spooled))
                document_io.write(kept, manifest)
            spooled.unlink(missing_ok=True)
        return manifest, self._folder.vault / manifest.file

    def examine(self, manifest_name: str, digest: str, run: str, training: int = 1) -> CheckpointExamined:
        """Adopt the copy and examine it in a child process. Every failure is an UNVERIFIED with its reason.

        `training` is who asks: a copy that cannot be adopted has no manifest to say it.
        """
        try:
            manifest, path = self.adopt(manifest_name)
        except (VaultError, OSError) as error:
            return _not_adopted(run, digest, training, str(error))
        if manifest.run != run or manifest.digest != digest:
            found = verify.Examination(
                verdict=Verdict.UNVERIFIED,
                reasons=(
                    f"the manifest is of run {manifest.run!r} and digest {manifest.digest[:16]}, not the one announced",
                ),
            )
        else:
            found = verify.examine(path, manifest.digest, seen_saved=True)  # a manifest is what a hook wrote at a save
            found = _against_manifest(found, manifest)
        return CheckpointExamined(
            run=run,
            manifest=manifest,
            path=str(path),
            verdict=found.verdict,
            reasons=(*_good_news(found), *found.reasons),
            seconds=found.seconds,
            name=manifest_name,
        )

    def keep(self, digests: Collection[str]) -> list[Path]:
        """Remove the adopted copies whose digest is not named, never the last copy left. Returns the removed."""
        if not self._folder.vault.is_dir():
            return []
        with _locked(self._folder.vault):
            kept = self._kept()
            going = [one for one in kept if one.manifest.digest not in digests]
            if len(going) == len(kept):
                going = going[:-1]  # the newest stays
            for one in going:
                one.copy.unlink(missing_ok=True)
                one.path.unlink(missing_ok=True)
            if going:
                document_io.sync_folder(self._folder.vault)
        return [one.copy for one in going]

    def waiting(self) -> list[str]:
        """The manifests in the spool, oldest first, whose copies are not adopted yet."""
        return [path.name for path in _manifests(self._folder.spool)]

    def adopted(self) -> list[tuple[Manifest, Path]]:
        """The copies in the vault with their manifests, as they were saved. An unreadable manifest is left out."""
        return [(one.manifest, one.copy) for one in self._kept()]

    def _kept(self) -> list[_Kept]:
        found = []
        for path in _manifests(self._folder.vault):
            manifest = _readable(path)
            if manifest and (self._folder.vault / manifest.file).is_file():
                found.append(_Kept(path, manifest, self._folder.vault / manifest.file))
        return sorted(found, key=lambda one: (one.manifest.saved_s, one.manifest.generation, one.manifest.serial))

    def _move(self, spooled: Manifest) -> Manifest:
        """Bring the copy into the vault, durably, and name it there."""
        source = self._folder.spool / spooled.file
        manifest = msgspec.structs.replace(spooled, file=_vault_name(spooled))
        target = self._folder.vault / manifest.file
        if not os.path.lexists(source) and target.is_file():
            return manifest  # a crash came between the move and the manifest
        with _open_plain(source) as file:
            if (size := os.fstat(file.fileno()).st_size) != manifest.size:
                raise VaultError(f"{source}: {size} bytes, its manifest says {manifest.size}")
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            _rename_or_copy(source, file, target)
        document_io.sync_folder(self._folder.vault)
        document_io.sync_folder(self._folder.spool)
        return manifest


@contextmanager
def _locked(vault: Path) -> Iterator[None]:
    """One at a time in this vault, over threads and processes: two would pull a copy from each other."""
    descriptor = os.open(vault, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which also unlocks


def _vault_name(manifest: Manifest) -> str:
    """Never a name that a framework's own resume picks up. Two saves of the same bytes stay two files."""
    of = f"g{manifest.generation}t{manifest.training}r{manifest.rank}s{manifest.serial}"
    return f"{manifest.digest[:16]}-e{manifest.epoch}-{of}.pt"


def _rename_or_copy(source: Path, file: BinaryIO, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(file, target)
        source.unlink()
    else:
        if not os.path.samestat(os.fstat(file.fileno()), os.lstat(target)):
            target.unlink()
            raise VaultError(f"{source}: was changed for another file while it was adopted")


def _copy(file: BinaryIO, target: Path) -> None:
    """To another file system: under a hidden name first, so that no half copy ever has the target's name."""
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)  # of a try that a crash cut short
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy:
            shutil.copyfileobj(file, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())
        partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _open_plain(path: Path) -> BinaryIO:
    """The file, if it is a regular one with one name: through a link somebody else could change it later."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        link = error.errno == errno.ELOOP
        raise VaultError(f"{path}: {'is a symbolic link, refused' if link else error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise VaultError(f"{path}: not a regular file with one name, refused")
    return os.fdopen(descriptor, "rb")


def _read_manifest(path: Path) -> Manifest:
    """The manifest, with every part that becomes a path checked. Raises VaultError."""
    with _open_plain(path) as file:
        data = file.read(_MANIFEST_BYTES_MAX + 1)
    if len(data) > _MANIFEST_BYTES_MAX:
        raise VaultError(f"{path}: over {_MANIFEST_BYTES_MAX} bytes, no manifest")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VaultError(f"{path}: no manifest ({error})") from error
    if not _COPY_NAME.fullmatch(manifest.file) or not _DIGEST.fullmatch(manifest.digest):
        raise VaultError(
            f"{path}: names the file {manifest.file[:80]!r} and the digest {manifest.digest[:80]!r}, refused"
        )
    return manifest


def _readable(path: Path) -> Manifest | None:
    try:
        return _read_manifest(path)
    except VaultError:
        return None


def _manifests(folder: Path) -> list[Path]:
    """Files of the folder with a manifest's name, oldest first. The hook may take one away meanwhile."""
    found = []
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if _MANIFEST_NAME.fullmatch(entry.name):
            try:
                found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
            except FileNotFoundError:
                continue
    return [folder / name for _, name in sorted(found)]


def _against_manifest(found: verify.Examination, manifest: Manifest) -> verify.Examination:
    """A generation can't start from a file without optimizer state, or of another epoch than the hook reported."""
    if verify.STRIPPED in found.reasons:
        reason = "there is nothing in it to resume from"
    elif found.epoch in (None, manifest.epoch):
        return found
    else:
        reason = f"the file holds epoch {found.epoch}, its manifest says {manifest.epoch}"
    verdict = Verdict.POISONED if found.verdict is Verdict.POISONED else Verdict.UNVERIFIED
    return msgspec.structs.replace(found, verdict=verdict, reasons=(*found.reasons, reason))


def _good_news(found: verify.Examination) -> tuple[str, ...]:
    """Why a file is sound; empty for any other verdict, which gives its own reasons."""
    if found.verdict is not Verdict.SOUND:
        return ()
    return (f"the bytes are those of the save, and every number of its {found.tensors} tensors is as it should be",)


def _not_adopted(run: str, digest: str, training: int, reason: str) -> CheckpointExamined:
    """A result for a copy nobody could take: its manifest holds only the digest and who asked."""
    nothing = Manifest(
        run=run, generation=0, rank=0, ordinal=0, serial=0, file="", source="", digest=digest, size=0, epoch=0,
        batches=0, nonfinite_batches=0, is_best=False, saved_s=0.0, training=training,
    )  # fmt: skip
    return CheckpointExamined(
        run=run, manifest=nothing, path="", verdict=Verdict.UNVERIFIED, reasons=(reason[:400],), seconds=0.0
    )
