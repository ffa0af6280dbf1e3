"""The bench as a whole: what is counted as healthy, and what happens to cases and contenders that break."""

from __future__ import annotations

from dataclasses import replace

from monitor.core.policy.settings import Policy
from tests.bench.detection.bench import Bench, Scope, cases, faulty_batches
from tests.bench.detection.families.numerical import nan_loss
from tests.bench.detection.fault import Fault, cases_of
from tests.bench.detection.healthy import HEALTHY
from tests.bench.detection.kinds import YOLO
from tests.bench.detection.score import false_alarms
from tests.bench.detection.streams import SEVERITIES, Case
from trainer_hooks.wire.messages import BatchEnded, Event

TEN = Fault("numerical", "NaN", "high", "10 batches", nan_loss, calm=50, tail=30, kinds=(YOLO,))
MISSING = Case(
    "data", "labels", "high", "for ever", True, False, 10, (), source="live", error="exit code 1", kind="mlp"
)


class Broken:
    """A rule with a defect."""

    name, source = "broken", "this test"

    def on_batch(self, batch: BatchEnded) -> bool:
        raise ZeroDivisionError("no spread")

    def on_event(self, event: Event) -> bool:
        return False

    def on_silence(self, waited_s: float) -> bool:
        return False


def bench() -> tuple[Bench, list[str]]:
    played: list[str] = []
    return Bench({"default": Policy()}, (Broken,), lambda family, batches: played.append(f"{family} {batches}")), played


def test_a_beginning_that_faults_share_is_played_once_and_counted_as_healthy() -> None:
    run, played = bench()
    run.run(cases_of([TEN, replace(TEN, lasts="for ever")], 1, "1"))
    assert played == ["numerical 30", "numerical 30"]
    assert faulty_batches(run.outcomes) == 40
    (begun,) = {o.batches for o in run.outcomes if o.case.family == HEALTHY}
    healthy = [row for row in false_alarms(run.outcomes) if row.among == "healthy"]
    assert {row.batches for row in healthy} == {begun}
    assert 50 <= begun < 150
    assert not any(row.alarms for row in healthy)


def test_a_training_that_could_not_be_had_is_named_and_the_others_are_played() -> None:
    run, played = bench()
    run.run([MISSING, *cases_of([TEN], 1, "1")])
    assert run.errors[0] == "data, labels (mlp): exit code 1"
    assert played == ["numerical 30"]
    assert not any(o.case is MISSING for o in run.outcomes)


def test_a_contender_that_breaks_is_told_once() -> None:
    run, _ = bench()
    run.run(cases_of([TEN], 3, "1"))
    assert run.errors == ["broken raised ZeroDivisionError: no spread; it is switched off for this case"]


def test_a_quick_bench_has_the_worst_faults_of_every_family_and_some_of_all_else() -> None:
    quick = list(cases(Scope("1", 1000, 1, quick=True)))
    whole = {case.family for case in cases(Scope("1", 1000, 1))}
    assert {case.family for case in quick} == whole
    assert {case.severity for case in quick if case.faulty} == {SEVERITIES[-1]}


def test_families_can_be_chosen() -> None:
    assert {case.family for case in cases(Scope("1", 1000, 1, frozenset({"hang", "benign"})))} == {"hang", "benign"}
