"""Our own recordings through the core again: streams of a training, and the journal of a daemon."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest

from monitor.core.detectors.nonfinite_burst import NonfiniteBurstConfig
from monitor.core.engine import Core, snapshot
from monitor.core.model import Entry, Severity
from monitor.core.policy.settings import Detectors, Policy, Rollback
from monitor.core.policy.table_settings import WhenClean
from monitor.core.state.run import Fleet
from monitor.history.journals import journals
from monitor.history.recall import FILE_NAME
from monitor.history.store import Store
from monitor.history.transaction_rows import Commit, Snapshot
from monitor.recorded.backtest import Result, backtest
from monitor.recorded.importers import read_recording
from monitor.recorded.importers.imported_run import UnreadableLog
from monitor.recorded.stream import Recorded, stream_bytes
from tests.harness.simulation import At, Simulation, supervised
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved, Counts, Event, PhaseChanged, TrainingStarted

BAD = frozenset({(1, 5, 32), (1, 5, 40), (1, 5, 51)})  # generation, epoch, batch


def started(at_s: float) -> TrainingStarted:
    return TrainingStarted(at_s, "plain", {}, {}, (), ("all",), (0.1,), 9, 1, 500, 1, 1, "", "", 1, "cpu", "")


def told(losses: list[float], took_s: float = 0.25) -> list[Recorded]:
    """A stream of one epoch: its start, and a batch for each loss."""
    first: list[tuple[float, Event]] = [(0.0, started(0.0)), (0.0, PhaseChanged(0.0, 1, "train"))]
    records = [Recorded(at_s, event) for at_s, event in first]
    bad = 0
    for i, loss in enumerate(losses):
        bad += math.isnan(loss)
        counts = Counts(batches=i + 1, steps=i + 1, nonfinite_batches=bad)
        at_s = (i + 1) * took_s
        batch = BatchEnded(at_s, at_s, 1, i, 500, counts, loss=loss, nonfinite=int(math.isnan(loss)), batch_s=took_s)
        records.append(Recorded(at_s, batch))
    return records


def calm(rows: int) -> list[float]:
    noise = random.Random(3)
    return [2.0 + noise.gauss(0, 0.05) for _ in range(rows)]


def of_stream(records: list[Recorded], policy: Policy | None = None) -> Result:
    return backtest(read_recording(stream_bytes(records), "night.jsonl"), policy or Policy())


def test_a_stream_of_a_calm_training_is_quiet() -> None:
    result = of_stream(told(calm(400)))
    assert (result.kind, result.rows, result.generations, result.fired, result.defects) == ("stream", 400, 1, [], 0)


def test_a_burst_in_a_stream_is_found_at_its_batch_and_line() -> None:
    losses = calm(300)
    losses[200] = losses[210] = losses[220] = float("nan")
    result = of_stream(told(losses))
    (burst,) = [f for f in result.fired if f.source == "nonfinite_burst"]
    assert (burst.row, burst.since_row, burst.step, burst.line) == (220, 200, 221, 224)
    assert [d.onset_row for d in result.decisions] == [200]


def test_a_silence_in_a_stream_is_a_hang() -> None:
    """Nothing is recorded while nothing happens; the seconds that passed are supplied."""
    records = told(calm(300))
    result = of_stream([*records, Recorded(records[-1].at_s + 90.0)])
    assert [(f.source, f.row) for f in result.fired if f.severity is Severity.WARNING] == [("hang", 299)]
    assert of_stream([*records, Recorded(records[-1].at_s + 20.0)]).fired == []


def test_a_checkpoint_of_a_stream_is_gone_back_to() -> None:
    losses = calm(300)
    losses[200] = losses[201] = losses[202] = float("nan")
    records = told(losses)
    saved = Recorded(records[102].at_s, CheckpointSaved(records[102].at_s, "m1", 1, "d1"))
    policy = Policy(when_clean=WhenClean.ROLLBACK)
    (decision,) = of_stream([*records[:103], saved, *records[103:]], policy).decisions
    assert (decision.action, decision.row, decision.redone_rows, decision.rows_after) == ("rollback", 202, 102, 97)


def test_a_stream_that_can_not_be_read_is_a_named_error() -> None:
    with pytest.raises(UnreadableLog, match=r"night\.jsonl: line 2 is not a record of a stream"):
        read_recording(b'{"trainwarden_stream": 1}\n{"loss": 1}\n{}\n', "night.jsonl")


def simulated(*, act: bool = True) -> Simulation:
    def fault(at: At) -> bool:
        return (at.generation, at.epoch, at.batch) in BAD

    policy = Policy(
        when_clean=WhenClean.ROLLBACK, rollback=Rollback(redo_limit_epochs=9.0)
    )  # it goes back, whatever that costs
    simulation = supervised(policy=policy, epochs=8, batches_per_epoch=100, fault=fault, act=act)
    simulation.train()
    return simulation


def stored(folder: Path, entries: list[Entry], fleet: Fleet, *, journal_kept: int = 1_000_000) -> Store:
    """A history that is open, as a live daemon has it, with two snapshots at its end."""
    store = Store(folder / FILE_NAME, journal_kept=journal_kept)
    store.commit(Commit(entries=entries))
    state = snapshot(Core(fleet))
    last = entries[-1].seq
    store.commit(Commit(snapshot=Snapshot(last - 1, state)))
    store.commit(Commit(snapshot=Snapshot(last, state)))
    return store


def test_a_run_of_our_own_history_is_judged_from_the_inputs_it_had(tmp_path: Path) -> None:
    simulation = simulated()
    store = stored(tmp_path, simulation.entries, simulation.core.fleet)
    ((journal,), troubles) = journals(tmp_path / FILE_NAME)
    store.close()
    result = backtest(journal, Policy.model_validate_json(journal.policy))
    assert troubles == []
    assert (result.rows, result.defects, result.truncated) == (simulation.batches_run, 0, "")
    assert sum(f.source == "nonfinite_burst" for f in result.fired) == 1
    assert [f.summary for f in result.fired] == [f.summary for f in simulation.run.training.findings]
    assert result.generations == simulation.run.generation == 2


def test_a_run_may_be_judged_under_another_policy(tmp_path: Path) -> None:
    simulation = simulated(act=False)
    store = stored(tmp_path, simulation.entries, simulation.core.fleet)
    ((journal,), _) = journals(tmp_path / FILE_NAME, "night")
    store.close()
    lax = Policy(detectors=Detectors(nonfinite_burst=NonfiniteBurstConfig(count=50)))
    assert not [f for f in backtest(journal, lax).fired if f.source == "nonfinite_burst"]
    assert journal.policy == simulation.policy.model_dump_json()


def test_a_run_whose_beginning_is_gone_is_judged_from_where_it_is_kept(tmp_path: Path) -> None:
    """What was counted before is not counted again."""
    simulation = simulated(act=False)
    kept = len(simulation.entries) - 450
    store = stored(tmp_path, simulation.entries, simulation.core.fleet, journal_kept=kept)
    ((journal,), _) = journals(tmp_path / FILE_NAME)
    store.close()
    result = backtest(journal, Policy())
    assert result.truncated == "its beginning is no longer kept"
    assert 0 < result.rows < simulation.batches_run
    assert result.defects == 0
    assert all(f.row >= result.rows - simulation.batches_run + 432 for f in result.fired)


def test_reading_a_history_changes_nothing_in_it(tmp_path: Path) -> None:
    simulation = simulated(act=False)
    store = stored(tmp_path, simulation.entries[:200], simulation.core.fleet)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*") if not path.name.endswith("-shm")}
    journals(tmp_path / FILE_NAME)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*") if not path.name.endswith("-shm")} == before
    store.commit(Commit(entries=[msgspec.structs.replace(simulation.entries[-1], seq=9999)]))
    store.close()
