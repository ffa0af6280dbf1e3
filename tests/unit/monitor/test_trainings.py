"""Several trainings of one run, each watched by itself: counts, what is learned, incidents, and the sums of the run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import msgspec
import pytest

from monitor.core.engine import snapshot
from monitor.core.model import HardwareSeen, HostSeen, RecordArrived
from monitor.core.state.epochs import totals_of, totals_of_run
from monitor.core.state.fold import TRAININGS_MAX
from monitor.core.state.projection import pace_s
from monitor.core.state.status import status_of, training_status_of
from monitor.core.summary import shown_training
from monitor.daemon.api.snapshots import detail_of, run_summary_of, trainings_of
from monitor.history.old_state import run_of
from tests.harness.script import POLICY, RUN, Script
from tests.unit.monitor.test_metrics import _exposed, _samples
from trainer_hooks.wire.messages import PhaseChanged


def one_after_the_other(script: Script) -> None:
    script.start(1)
    script.batches(1, 130)
    script.end(1)
    script.start(2, ordinal=2)
    script.batches(2, 110)


def at_the_same_time(script: Script) -> None:
    script.start(1)
    script.start(2)
    for _ in range(11):
        script.batches(1, 10)
        script.batches(2, 10)
    script.batches(1, 20)


def in_a_child_process(script: Script) -> None:
    """The child is the first training of its own process, and its parent waits for it."""
    script.start(1)
    script.batches(1, 130)
    script.start(2, ordinal=1)
    script.batches(2, 110)


WAYS = [one_after_the_other, at_the_same_time, in_a_child_process]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_training_has_counts_statistics_and_epochs_of_its_own(way: Callable[[Script], None]) -> None:
    script = Script()
    way(script)
    assert [totals_of(script[number]).batches for number in (1, 2)] == [130, 110]
    assert [[(row.epoch, row.batches) for row in script[n].epochs] for n in (1, 2)] == [
        [(1, 100), (2, 30)],
        [(1, 100), (2, 10)],
    ]
    going_on = {n: script[n].ranks[0].learned.signals["loss"].seen for n in (1, 2) if not script[n].over}
    assert going_on == ({2: 110} if script[1].over else {1: 130, 2: 110})
    assert [len(script[n].starts) for n in (1, 2)] == [1, 1]
    assert totals_of_run(script.run).batches == 240


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_training_has_findings_incidents_and_budgets_of_its_own(way: Callable[[Script], None]) -> None:
    script = Script()
    way(script)
    script.batches(2, 4, bad=True)
    assert (script[1].ledger.incidents, script[1].findings, script[1].streaks) == ([], [], {})
    assert [incident.number for incident in script[2].ledger.incidents] == [1]
    assert script[2].totals.findings
    assert [plan.training for plan in script.plans] == [2]
    assert (script[1].ledger.pending, script[1].ledger.counters.orders) == (None, {})


def _losses(seed: int, level: float, count: int) -> list[float]:
    draw = random.Random(seed)
    return [level * (1.0 + 0.05 * draw.gauss(0, 1)) for _ in range(count)]


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "at the same time"])
def test_nothing_learned_in_one_training_is_used_in_the_next(together: bool) -> None:
    script = Script()
    script.start(1)
    script.batches(1, 800, losses=_losses(1, 2.0, 800))
    if not together:
        script.end(1)
    script.start(2, ordinal=2)
    script.batches(2, 800, losses=_losses(2, 2000.0, 800))
    assert [script[n].findings for n in (1, 2)] == [[], []]
    assert script.alerts == []


def test_the_same_step_of_the_loss_within_one_training_is_found() -> None:
    """What the test above rests on."""
    script = Script()
    script.start(1)
    script.batches(1, 800, losses=_losses(1, 2.0, 800))
    script.batches(1, 800, losses=_losses(2, 2000.0, 800))
    assert "loss_spike" in {finding.detector for finding in script[1].findings}


def test_incidents_are_numbered_over_the_run_and_no_id_is_given_twice() -> None:
    script = Script()
    for number in (1, 2, 3):
        script.start(number)
        script.batches(number, 60)
    for number in (2, 1, 3):
        script.batches(number, 4, bad=True)
    assert [script[n].ledger.incidents[0].number for n in (1, 2, 3)] == [2, 1, 3]
    assert [script[n].ledger.incidents[0].id for n in (1, 2, 3)] == [f"{RUN}-i2", f"{RUN}-i1", f"{RUN}-i3"]
    effects = [effect.id for effect in script.effects if not effect.id.startswith(RUN + "-g")]  # orders are repeated
    assert len(effects) == len(set(effects))


def test_the_same_finding_at_the_same_batch_of_two_trainings_makes_two_alerts() -> None:
    """Two folds with one seed meet the same trouble at the same batch: an alert's id must tell them apart."""
    script = Script()
    script.start(1)
    script.start(2)
    for number in (1, 2):
        script.batches(number, 800, losses=_losses(1, 2.0, 800))
        script.batches(number, 200, losses=_losses(2, 2000.0, 200))
    watch = [alert.id for alert in script.alerts if alert.kind == "watch"]
    assert len(watch) == len(set(watch)) >= 2
    assert sum(f"{RUN}/t2/" in id_ for id_ in watch) * 2 == len(watch)


def test_the_totals_of_a_run_are_sums_over_its_trainings() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.batches(1, 4, bad=True)
    script.end(1)
    script.start(2, ordinal=2)
    script.batches(2, 100)
    script.batches(2, 3, bad=True)
    summary = run_summary_of(script.run)
    assert (summary.batches, summary.nonfinite) == (167, 7)
    lines = trainings_of(script.run)
    assert [(one.number, one.batches, one.nonfinite, one.incidents) for one in lines] == [(1, 64, 4, 1), (2, 103, 3, 1)]
    found, run = _samples(_exposed(script.driver.core.fleet)), ("run", RUN)
    assert found["batches_total", (run,)] == 167
    assert found["nonfinite_batches_total", (("kind", "any"), run)] == 7
    assert found["incidents_total", (("family", "nonfinite"), run, ("severity", "critical"))] == 2


def test_the_ranks_of_one_job_are_one_training() -> None:
    script = Script()
    script.start(1)
    script.start(1, rank=1)
    for _ in range(5):
        script.batches(1, 10)
        script.batches(1, 10, rank=1)
    assert list(script.run.trainings) == [1]
    assert {n: rank.counts.batches for n, rank in script[1].ranks.items()} == {0: 50, 1: 50}
    assert totals_of_run(script.run).batches == 50, "rank 0 speaks for the job"


def test_no_more_than_trainings_max_are_known_and_the_records_of_others_are_counted() -> None:
    script = Script()
    for number in range(2, TRAININGS_MAX + 1):
        script.send(number, PhaseChanged(script.driver.now_s, 1, "train"))
    assert len(script.run.trainings) == TRAININGS_MAX
    script.send(TRAININGS_MAX + 1, PhaseChanged(script.driver.now_s, 1, "train"))
    assert (len(script.run.trainings), script.run.frames_refused) == (TRAININGS_MAX, 1)
    script.send(TRAININGS_MAX, PhaseChanged(script.driver.now_s, 1, "validate"))
    assert script.run.frames_refused == 1, "those that are known go on"
    assert script[TRAININGS_MAX].phase == "validate"


def test_a_state_of_the_first_version_has_one_training() -> None:
    """A run as it was stored before a run had trainings: counts, epochs and incidents lie on the run itself."""
    run = {
        "spec": {"run": "night", "argv": [], "cwd": "/", "created_s": 0.0, "act": True}, "policy": "{}",
        "opened_s": 0.0, "generation": 1, "alive": True, "ranks": {0: {"rank": 0, "counts": [40, 40, 2]}},
        "epochs": [{"generation": 1, "epoch": 1, "batches_per_epoch": 100, "started_s": 0.0, "batches": 40}],
    }  # fmt: skip
    found = run_of(msgspec.msgpack.encode(run))
    assert list(found.trainings) == [1]
    assert (found.training.generation, totals_of_run(found).batches) == (1, 40)
    assert (totals_of_run(found).nonfinite_batches, len(found.training.epochs)) == (2, 1)


# --- what people are shown of a run with several --------------------------------------------------------------------


def test_a_run_is_as_the_training_that_goes_on_where_the_one_that_began_last_is_over() -> None:
    script = Script()
    script.start(1)
    script.start(2)
    script.batches(1, 30)
    script.batches(2, 10)
    script.end(2)
    script.send(1, PhaseChanged(script.driver.now_s, 1, "validate"))
    assert script.run.current == 2
    assert (script.run.going_on.number, status_of(script.run)) == (1, "validate")
    assert [training_status_of(script.run, script[n]) for n in (1, 2)] == ["validate", "finished"]
    assert run_summary_of(script.run).batch == 29


def test_hardware_is_judged_for_the_training_that_goes_on() -> None:
    script = Script()
    script.start(1)
    script.start(2)
    for number in (1, 2):
        script.batches(number, 30)
    script.end(2)
    for _ in range(30):
        script.driver.now_s += 15.0
        script.take(
            script.driver.feed(HardwareSeen(RUN, HostSeen(available=1 << 20, total=1 << 36, training_rss=1 << 35)))
        )
    assert {finding.detector for finding in script[1].findings} == {"host_memory"}
    assert script[2].findings == []


def test_the_summary_of_a_run_shows_the_training_with_a_live_incident_and_names_the_incidents_of_others() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.batches(1, 4, bad=True)
    script.start(2)
    script.batches(2, 10)
    assert shown_training(script.run).number == 1
    script.end(1)
    script.start(3)
    script.batches(3, 10)
    assert not script[1].incident
    assert shown_training(script.run).number == 3
    happened = dict(detail_of(script.run, script.driver.now_s, 0).in_short)["What happened"]
    assert happened == "No problem was found in 10 batches of training 3. 1 incident in training 1."


def test_findings_of_every_training_that_goes_on_are_shown() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.batches(1, 1, bad=True)
    script.start(2)
    script.batches(2, 10)
    assert "nonfinite_batch" in {found.detector for found in run_summary_of(script.run).findings}


def test_a_script_with_hundreds_of_trainings_has_a_small_state() -> None:
    """What is learned of a training goes once it is over and another one has begun; what people are shown stays."""
    script = Script()
    sizes = []
    for number in range(1, 12):
        script.start(number, ordinal=number)
        script.batches(number, 400)
        script.saved(number, 4)
        script.end(number)
        sizes.append(len(snapshot(script.driver.core)))
    more = [after - before for before, after in itertools.pairwise(sizes)]
    assert max(more) < 20_000 < sizes[0]
    assert [totals_of(script[n]).batches for n in (1, 11)] == [400, 400]
    assert [pace_s(script[n]) for n in (1, 11)] == [pytest.approx(0.1)] * 2
    assert len(script[1].epochs) == 4


def test_the_core_comes_back_from_its_snapshot_with_every_training() -> None:
    script = Script(POLICY)
    at_the_same_time(script)
    script.batches(2, 4, bad=True)
    before = msgspec.msgpack.encode(script.run)
    script.driver.reload()
    assert msgspec.msgpack.encode(script.run) == before
    script.batches(1, 10)
    assert totals_of(script[1]).batches == 140


def test_a_record_of_an_older_generation_is_refused_and_changes_no_training() -> None:
    script = Script()
    one_after_the_other(script)
    script.relaunch()
    late = RecordArrived(RUN, 1, 0, PhaseChanged(0.0, 1, "save"), training=2)  # type: ignore[arg-type]
    before = script.run.frames_refused
    script.take(script.driver.feed(late))
    assert script.run.frames_refused == before + 1
