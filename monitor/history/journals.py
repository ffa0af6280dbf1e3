"""The journal of each run, for a backtest: read as of one moment, also while a daemon writes. Blocking."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.core.model import Entry, GenerationStarted, RecordArrived, RunOpened, SilenceSet, Tick
from monitor.core.state.journal import Journal
from monitor.core.state.run import Fleet, RankState, RunState, TrainingState
from monitor.history.peek import Looking
from monitor.history.reads import reading
from monitor.history.recall import entries_after, newest_fleet
from trainer_hooks.wire.messages import BatchEnded

MAGIC = b"SQLite format 3\0"  # what every history begins with


def journals(path: Path, run: str | None = None) -> tuple[list[Journal], list[str]]:
    """The journal of every run (or of one) that has a batch in it, and what could not be read, as sentences.

    Raises sqlite3.Error for a file that is not a history.
    """
    unread: list[str] = []
    with reading(path) as db:
        db.execute("BEGIN")
        fleet = newest_fleet(Looking(db), unread)
        entries = entries_after(Looking(db), 0, unread)
    damaged = [text for text in unread if "can't be read" in text]
    troubles = [f"{len(damaged)} parts can't be read and are left out: {damaged[0]}"] if damaged else []
    of_runs: dict[str, list[Entry]] = {}
    for entry in entries:
        if not isinstance(given := entry.input, Tick | SilenceSet):
            of_runs.setdefault(given.spec.run if isinstance(given, RunOpened) else given.run, []).append(entry)
    ticks = [entry for entry in entries if isinstance(entry.input, Tick)]
    found = []
    for name, own in of_runs.items():
        if run not in (None, name) or not any(map(_is_batch, own)):
            continue
        if journal := _journal(str(path), name, own, ticks, fleet.runs.get(name)):
            found.append(journal)
        else:
            troubles.append(f"run {name!r}: its beginning and its state are gone, so it can't be judged")
    return found, troubles


def _journal(path: str, run: str, own: list[Entry], ticks: list[Entry], state: RunState | None) -> Journal | None:
    opened = next((i for i, entry in enumerate(own) if isinstance(entry.input, RunOpened)), None)
    if opened is not None:
        own, before, gone = own[opened:], Fleet(), ""
    elif state is not None:
        before, gone = Fleet({run: _resumed(state, own)}), "its beginning is no longer kept"
    else:
        return None
    while_it_ran = [tick for tick in ticks if own[0].seq < tick.seq < own[-1].seq]
    return Journal(path, run, sorted([*own, *while_it_ran], key=lambda entry: entry.seq), before, gone)


def _resumed(state: RunState, own: list[Entry]) -> RunState:
    """The run as it must have been before the first batch that is kept: nothing is learnt, and nothing counted anew."""
    first: dict[tuple[int, int], RecordArrived] = {}  # by training and rank
    for entry in own:
        if isinstance(entry.input, GenerationStarted) and first:
            break
        if isinstance(given := entry.input, RecordArrived) and isinstance(given.record, BatchEnded):
            first.setdefault((given.training, given.rank), given)
    generation = next(iter(first.values())).generation
    trainings = {
        number: TrainingState(number, generation=generation, started=training.started)
        for number, training in state.trainings.items()
    }
    for (number, rank), given in first.items():
        assert isinstance(given.record, BatchEnded)
        counts = given.record.counts
        training = trainings.setdefault(number, TrainingState(number, generation=generation))
        training.ranks[rank] = RankState(rank, counts=msgspec.structs.replace(counts, batches=counts.batches - 1))
    return RunState(
        spec=state.spec,
        policy=state.policy,
        opened_s=state.opened_s,
        generation=generation,
        supervisor_pid=state.supervisor_pid,
        alive=True,
        trainings=trainings,
        current=state.current,
    )


def _is_batch(entry: Entry) -> bool:
    given = entry.input
    return isinstance(given, RecordArrived) and isinstance(given.record, BatchEnded)
