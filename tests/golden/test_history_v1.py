"""What version 0.1 wrote can still be read: its history, run folder and reports. The files beside this are real."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

import msgspec
import pytest

from monitor.client.last_known import last_known_of
from monitor.core.engine import Core
from monitor.core.model import Incident, IncidentState
from monitor.core.policy.settings import Policy
from monitor.core.state.checkpoints import healthy_after
from monitor.core.state.run import RunState
from monitor.history.curve_query import Range, curves
from monitor.history.journals import journals
from monitor.history.old_state import run_of
from monitor.history.reads import timeline
from monitor.history.recall import FILE_NAME, open_history
from monitor.recorded.backtest import backtest
from trainer_hooks.wire import document_io, runfolder
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit, Generation, Manifest, RunOver, RunSpec
from trainer_hooks.wire.runfolder import ENV_HOME

FILES = Path(__file__).parent / "history_v1"
RUN = "night"
BATCHES = 136  # 76 of generation 1, and epochs 4 to 6 of generation 2
SUPERVISOR = 16598  # its pid then
TIMELINE = [
    "incident 1 opened at epoch 4, batch 14",
    "rolled back: generation 2 starts at epoch 4",
    "incident 1 resolved",
    "run finished: exit code 0; 3 non-finite of 136 batches in all",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old home, in force for whoever asks."""
    shutil.copytree(FILES / RUN, tmp_path / "runs" / RUN)
    (tmp_path / FILE_NAME).write_bytes(gzip.decompress((FILES / "history.sqlite3.gz").read_bytes()))
    monkeypatch.setenv(ENV_HOME, str(tmp_path))
    return tmp_path


def is_the_night(run: RunState) -> None:
    """Everything a report of it tells is there, under whatever names the state has today."""
    assert run.spec.run == RUN
    assert [epoch.epoch for epoch in run.training.epochs] == [1, 2, 3, 4, 4, 5, 6]
    assert run.training.totals.counts.batches == BATCHES
    assert run.training.totals.counts.nonfinite_batches == 3
    assert run.supervisor_pid == SUPERVISOR
    assert run.ended_s is not None
    [incident] = run.training.ledger.incidents
    is_its_incident(incident)


def is_its_incident(incident: Incident) -> None:
    assert (incident.id, incident.family, incident.state) == ("night-i1", "nonfinite", IncidentState.RESOLVED)
    assert (incident.action.kind, incident.totals.attempts, incident.totals.rollbacks) == ("rollback", 1, 1)
    assert len(incident.timeline) >= 5
    assert incident.at_open.samples == ["10.png", "12.png", "14.png"]
    assert incident.action.plan is not None
    assert [change.new for change in incident.action.changes] == ["0.005", "5", "0.85", "0.001"]
    assert incident.diagnosis is not None


def test_a_daemon_of_today_opens_the_old_history_and_knows_the_run(home: Path) -> None:
    store, recalled = open_history(home)
    store.close()
    assert not recalled.begun_anew
    assert recalled.troubles == []
    core = Core(recalled.fleet)
    for entry in recalled.entries:
        core.feed(entry)
    is_the_night(core.fleet.runs[RUN])


def test_it_goes_on_writing_where_the_old_one_stopped(home: Path) -> None:
    store, recalled = open_history(home)
    store.close()
    assert recalled.seq == 208
    assert recalled.effects == []
    assert recalled.timeline >= 25


def test_every_entry_of_the_old_journal_can_be_read(home: Path) -> None:
    found, troubles = journals(home / FILE_NAME)
    assert troubles == []
    [journal] = found
    assert (journal.run, len(journal.entries)) == (RUN, 208)


def test_the_old_journal_is_backtested(home: Path) -> None:
    """With the same findings as then; what is done about three bad batches on a clean state is decided later now."""
    [journal] = journals(home / FILE_NAME)[0]
    result = backtest(journal, Policy())
    assert (result.rows, result.nonfinite_rows, result.defects) == (BATCHES, 3, 0)
    assert [(fired.source, fired.row) for fired in result.fired] == [("nonfinite_batch", 70), ("nonfinite_burst", 74)]
    assert [decision.onset_row for decision in result.decisions] == [70]


def test_the_old_curves_are_drawn(home: Path) -> None:
    drawn = curves(home / FILE_NAME, Range(RUN)).signals
    assert sum(point.n for point in drawn["nonfinite"]) == BATCHES
    assert sum(point.mean for point in drawn["nonfinite"]) > 0
    losses = [point.mean for point in drawn["loss"]]
    assert len(losses) == BATCHES - 3
    assert losses[0] == pytest.approx(1.0)
    assert all(math.isfinite(loss) for loss in losses)


def test_the_old_timeline_is_told(home: Path) -> None:
    told = [line.text for line in timeline(home / FILE_NAME, RUN, 0)]
    assert all(any(text.startswith(begins) for text in told) for begins in TIMELINE), told


def test_without_a_daemon_the_run_is_known_from_the_history(home: Path) -> None:
    known = last_known_of(RUN)
    assert known is not None
    assert known.troubles == []
    is_the_night(known.run)


def test_without_the_history_the_run_is_known_from_its_folder(home: Path) -> None:
    (home / FILE_NAME).unlink()
    known = last_known_of(RUN)
    assert known is not None
    is_the_night(known.run)


def test_the_state_in_the_folder_holds_all_it_held(home: Path) -> None:
    is_the_night(run_of((home / "runs" / RUN / "state.msgpack").read_bytes()))


def test_a_bad_batch_before_the_old_daemon_ended_still_ends_what_proves_a_checkpoint(home: Path) -> None:
    """A run that goes on while its daemon is replaced: healthy batches are counted anew after the last bad one."""
    old = msgspec.msgpack.decode((home / "runs" / RUN / "state.msgpack").read_bytes())
    newest = old["checkpoints"][-1] | {"count": 60, "healthy_after": 2, "examining": True}
    old |= {"alive": True, "ended": "", "ended_s": None, "checkpoints": [newest], "shim_pid": SUPERVISOR}
    old["ranks"] = {0: {"rank": 0, "counts": [80, 80, 1]}}
    run = run_of(msgspec.msgpack.encode(old))
    training, [checkpoint] = run.training, run.training.checkpoints
    assert training.ledger.copies.examining == [checkpoint.digest]
    assert healthy_after(training, checkpoint) == 2
    training.ranks[0].counts = msgspec.structs.replace(training.ranks[0].counts, batches=90)
    assert healthy_after(training, checkpoint) == 10
    old["ranks"][0]["counts"] = [80, 80, 0]
    run = run_of(msgspec.msgpack.encode(old))
    assert healthy_after(run.training, run.training.checkpoints[0]) == 20


def test_every_document_of_the_old_run_folder_is_read(home: Path) -> None:
    folder = runfolder.run_folder(RUN)
    assert document_io.read(folder.spec, RunSpec).argv[1:3] == ("-m", "tests.harness.plain_training")
    assert [document_io.read(folder.generation(n), Generation).number for n in (1, 2)] == [1, 2]
    assert [document_io.read(folder.exit(n), Exit).code for n in (1, 2)] == [75, 0]
    assert document_io.read(folder.ended, RunOver).how == "finished"
    plan = document_io.read(folder.plan(2), Plan)
    assert (plan.kind, plan.start_epoch, plan.settings.learning_rate) == ("rollback", 4, 0.005)
    assert document_io.read(folder.receipt("night-g1-o20"), Receipt).outcome == "applied"
    manifests = [document_io.read(path, Manifest) for path in sorted(folder.vault.glob("*.json"))]
    assert [manifest.epoch for manifest in manifests] == [3, 4, 5, 6]


def test_the_supervisor_of_an_old_generation_is_known(home: Path) -> None:
    """A daemon that starts while an older supervisor runs must watch that one."""
    assert document_io.read(runfolder.run_folder(RUN).generation(1), Generation).supervisor_pid == SUPERVISOR
