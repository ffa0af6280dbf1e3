"""Cases hold what they say: the fault fires at its onset and not before, and the same seed gives the same case."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.bench.detection.families import FAULTS
from tests.bench.detection.families.numerical import nan_loss
from tests.bench.detection.families.optimizer import BLOOM_LOSS, BLOOM_NORM, bloom
from tests.bench.detection.families.telemetry import HARMLESS
from tests.bench.detection.fault import Fault, as_they_are, cases_of, nothing, unchanged
from tests.bench.detection.healthy import LOOK_ALIKES, healthy_cases, look_alikes
from tests.bench.detection.kinds import KINDS, LANGUAGE, Batch
from tests.bench.detection.streams import DURATION, LASTS, SEVERITIES, Arrived, Case, Step
from trainer_hooks.wire.messages import BatchEnded, TrainingStarted


def shortened(fault: Fault) -> Fault:
    return replace(fault, calm=20 if fault.calm else 0, tail=min(fault.tail, 240))


def case_of(fault: Fault, seed: str = "1") -> tuple[Case, list[Step], list[Step]]:
    """The case, its healthy beginning, and what follows."""
    (case,) = cases_of([shortened(fault)], 1, seed)
    assert case.opening is not None
    return case, list(case.opening.steps()), list(case.steps)


def losses(steps: Iterable[Step]) -> list[float | None]:
    return [s.record.loss for s in steps if isinstance(s, Arrived) and isinstance(s.record, BatchEnded)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.family}: {f.name}, {f.severity}, {f.lasts}")
def test_a_fault_changes_what_is_told_from_its_onset_on(fault: Fault) -> None:
    case, _, after = case_of(fault)
    healthy = replace(fault, change=unchanged, before=nothing, garble=as_they_are, hangs=False)
    _, _, plain = case_of(healthy)
    assert repr(after) != repr(plain)
    assert case.faulty
    assert case.onset == (case.opening.batches if case.opening else None)
    assert (fault.severity in SEVERITIES, fault.lasts in LASTS, fault.lasts in DURATION) == (True, True, True)


def test_no_two_faults_are_the_same_cell() -> None:
    cells = [(f.family, f.name, f.severity, f.lasts) for f in FAULTS]
    assert len(set(cells)) == len(cells)


def test_a_transient_fault_ends_and_a_permanent_one_does_not() -> None:
    for lasts, bad in (("1 batch", 1), ("10 batches", 10), ("for ever", 30)):
        _, before, after = case_of(Fault("numerical", "NaN", "high", lasts, nan_loss, tail=30))
        assert sum(loss is not None and math.isnan(loss) for loss in losses(after)) == bad
        assert not any(loss is not None and math.isnan(loss) for loss in losses(before))


def test_the_same_seed_gives_the_same_case_and_another_seed_another() -> None:
    fault = FAULTS[0]
    assert repr(case_of(fault)) != ""
    assert repr(case_of(fault)[1:]) == repr(case_of(fault)[1:])
    assert repr(case_of(fault, "2")[1:]) != repr(case_of(fault)[1:])


def test_faults_of_one_kind_share_a_beginning_which_comes_before_all_of_them() -> None:
    faults = [shortened(f) for f in FAULTS if f.family == "data"]
    cases = list(cases_of(faults, 2, "1"))
    assert len(cases) == 2 * len(faults)
    openings = [case.opening for case in cases]
    assert len(set(map(id, openings))) == 2
    assert openings == sorted(openings, key=lambda o: next(i for i, other in enumerate(openings) if other is o))


def test_counts_of_a_generation_are_cumulative_and_a_resume_begins_again() -> None:
    resumed = next(f for f in FAULTS if f.name == "repeated after a resume")
    _, before, after = case_of(resumed)
    counts = [
        s.record.counts.batches
        for s in [*before, *after]
        if isinstance(s, Arrived) and isinstance(s.record, BatchEnded)
    ]
    first = counts.index(1, 1)
    assert counts == [*range(1, first + 1), *range(1, len(counts) - first + 1)]
    assert any(isinstance(s, Arrived) and isinstance(s.record, TrainingStarted) for s in after)


def test_the_spike_of_bloom_is_what_was_printed() -> None:
    for at, loss in BLOOM_LOSS.items():
        one = Batch(2.199, 0.242, 1.0, None, None, 1)
        bloom(one, at)
        if at < max(BLOOM_LOSS):
            assert one.loss == pytest.approx(2.199 * loss)
            assert one.norm == pytest.approx(0.242 * BLOOM_NORM[at])


def test_healthy_trainings_are_of_every_kind_and_as_long_as_was_asked() -> None:
    cases = list(healthy_cases(2000, "1", length=100))
    assert [case.kind for case in cases[::2]] == [kind.name for kind in KINDS]
    assert sum(len(losses(case.steps)) for case in cases) == 2000
    assert not any(case.faulty or case.benign for case in cases)


def test_every_look_alike_is_told_and_none_is_faulty() -> None:
    cases = list(look_alikes("1"))
    assert {case.fault for case in cases} == {fault.name for fault in (*LOOK_ALIKES, *HARMLESS)}
    assert all(case.benign and not case.faulty and case.onset is None for case in cases)


def test_a_case_begins_with_a_training_and_its_time_never_goes_back() -> None:
    for case in [*healthy_cases(500, "1", length=50), *look_alikes("1")][::5]:
        steps = [step for _, step in zip(range(3000), case.steps, strict=False)]
        assert isinstance(steps[0], Arrived)
        assert isinstance(steps[0].record, TrainingStarted)
        times = [step.at_s for step in steps]
        assert times == sorted(times)


def test_ranks_see_other_data_and_end_their_batches_together() -> None:
    fault = next(f for f in FAULTS if f.ranks == 4)
    (case,) = cases_of([shortened(replace(fault, kinds=(LANGUAGE,)))], 1, "1")
    assert case.opening is not None
    told = [s for s in case.opening.steps() if isinstance(s, Arrived) and isinstance(s.record, BatchEnded)][:4]
    assert [s.rank for s in told] == [0, 1, 2, 3]
    assert len({s.at_s for s in told}) == 1
    assert len({s.record.loss for s in told if isinstance(s.record, BatchEnded)}) == 4
