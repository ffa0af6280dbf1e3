"""Copies of checkpoints in the run folder, made by a helper thread, whether or not a daemon is there to adopt them."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.copying import Copy, FileVersion, TornError, copy_version, version_of
from trainer_hooks.identity import Identity
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.messages import CheckpointSaved, Event, HookTrouble
from trainer_hooks.wire.run_documents import Manifest

SPOOL_FILES = 6  # copies that no daemon has adopted; with a daemon there is one at most
SPOOL_SNAPSHOTS = 2  # of them
WAITING_MAX = 4  # different files to copy; a trainer saves last, best and perhaps one a period
TRIES = 3
TRY_AGAIN_S = 0.2

_PARTIAL = re.compile(r"\.g(\d+)(?:-t\d+)?-r\d+-\d+\.[^.]*\.part")
_log = logging.getLogger("trainwarden")


@dataclass(frozen=True, slots=True)
class Save:
    """What is true of a checkpoint when the trainer saves it."""

    epoch: int  # from 1
    ordinal: int  # which train() of this process: 1 for the first
    batches: int  # of this generation, until then
    nonfinite_batches: int
    is_best: bool
    fitness: float | None = None
    state_finding: str = ""  # what the guard found in the state right before; empty: nothing bad
    resumed: bool = False  # True: it was not saved by this training, which was resumed from it
    extra_batches: int = 0  # of the epoch after `epoch`, which it holds as well; above 0: a snapshot
    startable: bool = False  # see Manifest


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A checkpoint that was just saved, and what was true then."""

    source: Path
    version: FileVersion  # of the very version that is meant: when the helper comes, the trainer may have saved again
    save: Save
    saved_s: float


@dataclass(frozen=True, eq=False)  # no slots: it can be referred to weakly, which tells when it has been served
class SnapshotRequest:
    """A state that was just copied to host memory, and what was true then."""

    source: Path  # no file of this name exists: it says what the file is
    write: Callable[[Path], Copy]  # to a new file, durably
    save: Save
    saved_s: float


def request_of(source: Path, save: Save) -> CopyRequest:
    """A request for the version of `source` that lies there now. Raises OSError where there is none."""
    path = source.absolute()
    return CopyRequest(path, version_of(path), save, time.time())


class Spool:
    """Takes requests from the training thread at once; copies, digests, describes and bounds them in its own."""

    def __init__(self, identity: Identity, send: Callable[[Event], None], files_max: int = SPOOL_FILES) -> None:
        self.displaced = 0  # requests that gave way to newer ones before they were copied
        self.evicted = 0  # copies removed because nobody adopted them
        self._identity = identity
        self._folder = identity.folder.spool
        self._send = send
        self._files_max = files_max
        self._serial = 0
        self._waiting: dict[Path, CopyRequest | SnapshotRequest] = {}
        self._busy = False
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def offer(self, request: CopyRequest | SnapshotRequest) -> None:
        """Hand over a request and return. A newer one for the same file replaces the older: that version is gone."""
        with self._changed:
            if self._waiting.pop(request.source, None) is not None:
                self.displaced += 1
            elif len(self._waiting) >= WAITING_MAX:
                del self._waiting[next(iter(self._waiting))]
                self.displaced += 1
            self._waiting[request.source] = request
            self._stopping = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trainwarden-spool", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait for the copies that are waiting. True: all were made within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def finish_if_idle(self) -> bool:
        """True: nothing waits to be copied; the thread then ends."""
        return self.finish(0.0)

    def finish(self, timeout_s: float) -> bool:
        """As `settle`, then end the thread."""
        with self._changed:
            done = self.settle(timeout_s)
            self._stopping = True
            self._changed.notify_all()
        return done

    def _run(self) -> None:
        self._guarded(self._remove_partial)
        while self._serve_next():
            pass

    def _serve_next(self) -> bool:
        """False: this thread is to end. Holds no request when it has returned: its state in memory is free again."""
        request = self._next()
        if request is not None:
            self._guarded(self._serve, request)
        return request is not None

    def _next(self) -> CopyRequest | SnapshotRequest | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if not self._waiting:
                self._thread = None  # under the lock: the next request starts another, and there are never two
                return None
            self._busy = True
            return self._waiting.pop(next(iter(self._waiting)))

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - this thread must outlive every error
            _log.warning("a checkpoint was not copied, training goes on: %r", error)
            self._send(HookTrouble(time.time(), "spool", f"{type(error).__name__}: {error}", False))

    def _serve(self, request: CopyRequest | SnapshotRequest) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        serial = self._serial + 1
        of = f"g{self._identity.generation}-t{self._identity.training}-r{self._identity.rank}"
        name = f"{of}-{serial:05d}{request.source.suffix}"
        partial = self._folder / f".{name}.part"
        copied = request.write(partial) if isinstance(request, SnapshotRequest) else self._copy(request, partial)
        if copied is None:
            return
        self._serial = serial
        partial.rename(self._folder / name)
        manifest = self._manifest(request, copied, serial, name)
        try:
            document_io.write(self._folder / f"{name}.json", manifest)
        except OSError:
            (self._folder / name).unlink(missing_ok=True)
            raise
        save = request.save
        self._send(
            CheckpointSaved(time.time(), f"{name}.json", save.epoch, copied.digest, extra_batches=save.extra_batches)
        )
        self._evict(f"{name}.json")

    def _copy(self, request: CopyRequest, partial: Path) -> Copy | None:
        """The copy, or None where another version took the place of the one that is meant; that is reported."""
        for _ in range(TRIES):
            try:
                return copy_version(request.source, request.version, partial)
            except (TornError, FileNotFoundError):
                with self._changed:
                    newer = self._changed.wait_for(lambda: request.source in self._waiting, TRY_AGAIN_S)
                    if newer:
                        self.displaced += 1
                        return None
        self._send(CheckpointSaved(time.time(), "", request.save.epoch, "", torn=True))
        return None

    def _manifest(self, request: CopyRequest | SnapshotRequest, copied: Copy, serial: int, name: str) -> Manifest:
        save = request.save
        return Manifest(
            run=self._identity.run,
            generation=self._identity.generation,
            rank=self._identity.rank,
            ordinal=save.ordinal,
            serial=serial,
            file=name,
            source=str(request.source),
            digest=copied.digest,
            size=copied.size,
            epoch=save.epoch,
            batches=save.batches,
            nonfinite_batches=save.nonfinite_batches,
            is_best=save.is_best,
            saved_s=request.saved_s,
            state_finding=save.state_finding,
            fitness=save.fitness,
            training=self._identity.training,
            resumed=save.resumed,
            extra_batches=save.extra_batches,
            startable=save.startable,
        )

    def _evict(self, newest: str) -> None:
        """Remove the oldest copies over the bound, best ones last; manifests first, so that none points nowhere.

        Of snapshots, which come often, only the newest few stay: they must not take the place of checkpoints.
        """
        found: list[tuple[bool, float, Path, Manifest]] = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(RunFolderError):  # adopted by the daemon just now, or not one of ours
                manifest = document_io.read(path, Manifest)
                if path.name != newest:
                    found.append((manifest.is_best, manifest.saved_s, path, manifest))
        found.sort(key=lambda one: one[:3])
        going = [one for one in found if one[3].extra_batches][: -SPOOL_SNAPSHOTS or None]
        rest = [one for one in found if one not in going]
        for _, _, path, manifest in going + rest[: max(0, len(rest) + 1 - self._files_max)]:
            path.unlink(missing_ok=True)
            (self._folder / Path(manifest.file).name).unlink(missing_ok=True)
            self.evicted += 1

    def _remove_partial(self) -> None:
        """What generations before this one left half-copied when they were killed."""
        for path in self._folder.glob(".*.part"):
            match = _PARTIAL.fullmatch(path.name)
            if match and int(match[1]) < self._identity.generation:
                path.unlink(missing_ok=True)
