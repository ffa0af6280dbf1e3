"""What happened while no daemon looked, read out of the run folders and fed to the core. An edge file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from monitor.core.engine import Core
from monitor.core.model import Effect, ExamineCheckpoint, GenerationExited, Input, ReceiptFound, RecordArrived, RunEnded
from monitor.core.model.outcomes import outcome_of
from monitor.core.state.run import Fleet, RunState
from monitor.daemon import run_registration
from monitor.daemon.ingest.session import batches_taken, last_taken
from monitor.daemon.receivers import Receivers
from monitor.history.recall import Recalled
from monitor.policyfile.load import PolicyFileError, load_policy
from monitor.vault.copies import Vault
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import Document, RunFolderError
from trainer_hooks.wire.eventfile import events_of, read_events
from trainer_hooks.wire.last_counts import LastCounts, read_last_counts
from trainer_hooks.wire.messages import EventSent, TrainingEnded
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit, Manifest, RunOutcome, RunOver
from trainer_hooks.wire.runfolder import RunFolder, run_folder

FILES_NAMED_MAX = 100  # files that are named; a folder full of rubbish must not fill the timeline

log = logging.getLogger("trainwarden.daemon")


def replay(core: Core, recalled: Recalled) -> None:
    """Bring the core to where the journal ends. What it asks for on the way was committed with the journal."""
    for entry in recalled.entries:
        core.feed(entry)


def live_runs(fleet: Fleet) -> list[RunState]:
    """Those that did not end."""
    return [run for run in fleet.runs.values() if not run.ended]


def learn_receivers(fleet: Fleet, receivers: Receivers) -> list[str]:
    """Read the receivers of every run again: the journal holds them without their secrets. Returns what can't be."""
    troubles = []
    for name, run in fleet.runs.items():
        try:
            path = run_folder(name).policy
            if path.exists():
                receivers.learn_or_log(name, load_policy(path))
        except (PolicyFileError, RunFolderError, OSError) as error:
            troubles.append(f"run {name}: its policy can't be read, and its alerts wait until it can: {error}")
            if run.ended:
                log.warning("%s", troubles.pop())
    return troubles


class Unreadable:
    """What is said of files of run folders that can't be read: each once, as long as this process lives."""

    def __init__(self, notify: Callable[[str, str, str], None]) -> None:
        self._add_line = notify
        self._named: set[str] = set()

    @property
    def count(self) -> int:
        return len(self._named)

    def notify(self, run: str, error: Exception) -> None:
        text = printable(f"{error}; this file is passed over")
        if text not in self._named and len(self._named) < FILES_NAMED_MAX:
            self._named.add(text)
            log.warning("run %s: %s", run, text)
            self._add_line(run, "warning", text)


def printable(text: str) -> str:
    """Without the lone surrogates that stand for bytes of a file name: neither SQLite nor a log file can hold them."""
    return text.encode(errors="backslashreplace").decode()


def catch_up(run: RunState, offer: Callable[[Input], None], unreadable: Unreadable) -> None:
    """Feed what the folder of a live run holds and the core does not know, from its generations to its end."""
    folder = run_folder(run.spec.run)
    numbers = [run.generation] if run.generation else []
    started: dict[int, Input] = {}
    for number in folder.generations():
        if number > run.generation:
            try:
                started[number] = run_registration.generation(run.spec.run, number)
            except RunFolderError as error:
                unreadable.notify(run.spec.run, error)
            else:
                numbers.append(number)
    over = _read(run, folder.ended, RunOver, unreadable)
    for number in numbers:
        if number in started:
            offer(started[number])
        for missed in _missed(run, folder, number, over if number == numbers[-1] else None, unreadable):
            offer(missed)
    if over and numbers and not run.ended:
        offer(RunEnded(run.spec.run, over.how, over.detail))


def missed_records(run: RunState, folder: RunFolder) -> Iterator[RecordArrived]:
    """The present generation's events that did not arrive over the socket, and its last counters, where newer."""
    last = {(each.training, each.rank): each for each in read_last_counts(folder, run.generation)}
    for event in list(_missed_events(run, folder)):
        if isinstance(event.record, EventSent) and isinstance(event.record.body, TrainingEnded):
            yield from _newer_counts(run, last.pop((event.training, event.rank), None))
        yield event
    for each in last.values():
        yield from _newer_counts(run, each)


def _newer_counts(run: RunState, last: LastCounts | None) -> Iterator[RecordArrived]:
    if last is not None and last.counts.batches > batches_taken(run, last.training, last.rank):
        yield RecordArrived(run.spec.run, last.generation, last.rank, last.as_batch(), training=last.training)


def _missed_events(run: RunState, folder: RunFolder) -> Iterator[RecordArrived]:
    found = [(of, path) for path in folder.spool.glob("events-*.bin") if (of := events_of(path))]
    for of, path in sorted(found):
        if of.generation != run.generation:
            continue
        seen = last_taken(run, of.training, of.rank)
        for event in _events(path):
            if event.seq > seen:
                seen = event.seq
                yield RecordArrived(run.spec.run, run.generation, of.rank, event, training=of.training)


def _events(path: Path) -> list[EventSent]:
    try:
        return read_events(path)
    except OSError as error:  # its process removes it once every event is acknowledged
        log.info("%s: %s", printable(str(path)), error.strerror)
        return []


def _missed(
    run: RunState, folder: RunFolder, number: int, over: RunOver | None, unreadable: Unreadable
) -> Iterator[Input]:
    """Of one generation, in the order it must have happened: events, receipts, and last the exit."""
    yield from list(missed_records(run, folder))
    for path in sorted(folder.root.glob("applied-*.json")):
        receipt = _read(run, path, Receipt, unreadable)
        if receipt and receipt.generation == number:
            yield ReceiptFound(run.spec.run, receipt)
    ended = _read(run, folder.exit(number), Exit, unreadable) if run.alive else None
    if ended:
        stopped = over is not None and over.how is RunOutcome.STOPPED  # an older supervisor wrote this, and no outcome
        ended = msgspec.structs.replace(ended, outcome=outcome_of(ended, order_obeyed=stopped))
        yield GenerationExited(run.spec.run, ended, relaunch=folder.plan(number + 1).exists())


def _read(run: RunState, path: Path, kind: type[Document], unreadable: Unreadable) -> Document | None:
    """The document; None where there is none, or none that can be read."""
    try:
        return document_io.read(path, kind) if os.path.lexists(path) else None
    except RunFolderError as error:
        unreadable.notify(run.spec.run, error)
        return None


def unreported_checkpoints(run: RunState, pending: list[Effect], unreadable: Unreadable) -> list[ExamineCheckpoint]:
    """Copies in the spool whose save nobody reported: the hook died between the copy and the event."""
    folder = run_folder(run.spec.run)
    known = {c.manifest_name for training in run.trainings.values() for c in training.checkpoints}
    known |= {effect.manifest for effect in pending if isinstance(effect, ExamineCheckpoint)}
    found = []
    for name in Vault(folder).waiting():
        manifest = None if name in known else _read(run, folder.spool / name, Manifest, unreadable)
        if manifest:
            id_ = f"{run.spec.run}/unreported/{name}"
            found.append(ExamineCheckpoint(id_, run.spec.run, name, manifest.digest, manifest.training))
    return found
