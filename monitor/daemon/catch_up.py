"""What happened while no daemon looked, read out of the run folders and fed to the core. An edge file."""

from __future__ import annotations

import logging
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
from trainer_hooks.wire import runfolder
from trainer_hooks.wire.eventfile import events_of, read_events
from trainer_hooks.wire.last_counts import LastCounts, read_last_counts
from trainer_hooks.wire.messages import EventSent, TrainingEnded
from trainer_hooks.wire.runfolder import (
    Exit,
    Manifest,
    Receipt,
    RunFolder,
    RunFolderError,
    RunOutcome,
    RunOver,
    run_folder,
)

log = logging.getLogger("trainwarden.daemon")


def replay(core: Core, recalled: Recalled) -> None:
    """Bring the core to where the journal ends. What it asks for on the way was committed with the journal."""
    for entry in recalled.entries:
        core.feed(entry)


def live_runs(fleet: Fleet) -> list[RunState]:
    """Those that did not end."""
    return [run for run in fleet.runs.values() if not run.ended]


def learn_receivers(fleet: Fleet, receivers: Receivers) -> None:
    """Read the receivers of every run again: the journal holds them without their secrets."""
    for run in fleet.runs.values():
        path = run_folder(run.spec.run).policy
        try:
            if path.exists():
                receivers.learn_or_log(run.spec.run, load_policy(path))
        except PolicyFileError as error:
            log.error("run %s: its alerts wait until its policy can be read: %s", run.spec.run, error)  # noqa: TRY400


def catch_up(run: RunState, offer: Callable[[Input], None]) -> None:
    """Feed what the folder of a live run holds and the core does not know, from its generations to its end."""
    folder = run_folder(run.spec.run)
    first = max(run.generation, 1)
    for number in range(first, folder.last_generation() + 1):
        try:
            if number > run.generation:
                offer(run_registration.generation(run.spec.run, number))
            for missed in _missed(run, folder, number):
                offer(missed)
        except RunFolderError as error:
            log.warning("run %s: generation %d is passed over: %s", run.spec.run, number, error)


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
        log.info("%s: %s", path, error.strerror)
        return []


def _missed(run: RunState, folder: RunFolder, number: int) -> Iterator[Input]:
    """Of one generation, in the order it must have happened: events, receipts, and last the exit and the run's end."""
    yield from missed_records(run, folder)
    for path in sorted(folder.root.glob("applied-*.json")):
        receipt = runfolder.read(path, Receipt)
        if receipt.generation == number:
            yield ReceiptFound(run.spec.run, receipt)
    over = _over(folder, number)
    if run.alive and folder.exit(number).exists():
        ended = runfolder.read(folder.exit(number), Exit)
        stopped = over is not None and over.how is RunOutcome.STOPPED  # an older supervisor wrote this, and no outcome
        ended = msgspec.structs.replace(ended, outcome=outcome_of(ended, order_obeyed=stopped))
        yield GenerationExited(run.spec.run, ended, relaunch=folder.plan(number + 1).exists())
    if over and not run.ended:
        yield RunEnded(run.spec.run, over.how, over.detail)


def _over(folder: RunFolder, number: int) -> RunOver | None:
    """How the run ended with generation `number`; None: it did not."""
    if number != folder.last_generation() or not folder.ended.exists():
        return None
    return runfolder.read(folder.ended, RunOver)


def unreported_checkpoints(run: RunState, pending: list[Effect]) -> list[ExamineCheckpoint]:
    """Copies in the spool whose save nobody reported: the hook died between the copy and the event."""
    folder = run_folder(run.spec.run)
    known = {c.manifest_name for training in run.trainings.values() for c in training.checkpoints}
    known |= {effect.manifest for effect in pending if isinstance(effect, ExamineCheckpoint)}
    found = []
    for name in Vault(folder).waiting():
        if name in known:
            continue
        try:
            manifest = runfolder.read(folder.spool / name, Manifest)
        except RunFolderError as error:
            log.warning("run %s: a checkpoint copy is passed over: %s", run.spec.run, error)
        else:
            id_ = f"{run.spec.run}/unreported/{name}"
            found.append(ExamineCheckpoint(id_, run.spec.run, name, manifest.digest, manifest.training))
    return found
