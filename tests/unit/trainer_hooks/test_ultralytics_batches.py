"""Verdicts on batches and the totals of many, on a tiny model: no framework needed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import Guard, StepReport
from trainer_hooks.integrations.ultralytics.process import (
    NAMING_ARGUMENTS,
    Process,
    Training,
    arguments_digest,
    describe_to_children,
)
from trainer_hooks.integrations.ultralytics.signals import contents_after, contents_before
from trainer_hooks.parameter_groups import Reading
from trainer_hooks.recorder.assess import Counted, GuardedAssessor
from trainer_hooks.recorder.batch import BatchAssessment, BatchContents, PendingBatch
from trainer_hooks.tensors import Memory
from trainer_hooks.wire.messages import Counts, Nonfinite, SkippedBy

NAN = math.nan
STEP = StepReport(norm_value=1.0, settled=True, stepped=True)
NO_STEP = StepReport(settled=True)


@dataclass
class Bench:
    """A judge over a model that nothing is wrong with, unless a test breaks it."""

    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self.model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.assessor = GuardedAssessor(Guard(self.model, optimizer, None, FailOpen(lambda _: None)), self.counted)

    def ended(self, report: StepReport, loss: float = 1.0) -> BatchAssessment:
        draft = PendingBatch(
            wall_s=0.0,
            sent_s=0.0,
            epoch=1,
            batch=0,
            batches_per_epoch=1,
            contents=BatchContents(size=8),
            report=report,
            used=(Reading(0.1, None, 0.0),),
            clip_norm=None,
            memory=Memory(),
            batch_s=None,
            data_wait_s=None,
            scalars=(),
            parts_count=0,
        )
        assessed = BatchAssessment(loss, (), report.norm_value)
        self.assessor.assess(draft, assessed)
        return assessed


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_good_batch_counts_as_one_and_has_no_bits(bench: Bench) -> None:
    assert bench.ended(STEP).bits == 0
    assert bench.counted.counts(0, 0) == Counts(batches=1, steps=1)


def test_an_isolated_overflow_is_counted_apart_and_is_no_bad_batch(bench: Bench) -> None:
    report = StepReport(norm_value=math.inf, skipped_by=SkippedBy.SCALER, settled=True, stepped=True)
    assert bench.ended(report).bits == 0
    assert bench.counted.counts(0, 0) == Counts(batches=1, steps=1, skipped_by_scaler=1, scaler_overflows=1)


@pytest.mark.parametrize(
    ("report", "loss", "bits"),
    [
        (StepReport(norm_value=NAN, skipped_by=SkippedBy.SCALER, scale_healthy=False), 1.0, Nonfinite.GRADIENT),
        (StepReport(norm_value=NAN, skipped_by=SkippedBy.SCALER), NAN, Nonfinite.LOSS | Nonfinite.GRADIENT),
        (StepReport(norm_value=NAN, skipped_by=SkippedBy.GUARD), 1.0, Nonfinite.GRADIENT),
        (
            StepReport(norm_value=NAN, skipped_by=SkippedBy.SCALER, bad_buffer="bn.running_var"),
            1.0,
            Nonfinite.GRADIENT | Nonfinite.BUFFER,
        ),
    ],
    ids=["a scale below one", "a loss that is NaN too", "no scaler", "poisoned statistics"],
)
def test_an_overflow_that_is_more_than_one_gets_its_bits(
    bench: Bench, report: StepReport, loss: float, bits: Nonfinite
) -> None:
    report.settled = report.stepped = True
    verdict = bench.ended(report, loss)
    assert verdict.bits == bits
    assert verdict.cured
    assert bench.counted.scaler_overflows == 0
    assert bench.counted.nonfinite_batches == 1


def test_a_bad_micro_batch_is_remembered_until_its_step_is_over(bench: Bench) -> None:
    """Good, bad, good, then the step that all four make, skipped: one bad batch, one skip, three batches of samples."""
    bench.ended(NO_STEP)
    assert bench.ended(NO_STEP, NAN).bits == Nonfinite.LOSS
    bench.ended(NO_STEP)
    skipped = StepReport(norm_value=NAN, skipped_by=SkippedBy.GUARD, settled=True, stepped=True)
    assert bench.ended(skipped).bits == 0
    counts = bench.counted.counts(0, 0)
    assert (counts.nonfinite_batches, counts.skipped_by_guard, counts.samples_lost) == (1, 1, 24)
    assert bench.ended(skipped).bits == Nonfinite.GRADIENT, "the next bad step is its own"


def test_poisoned_parameters_are_told_and_not_called_cured(bench: Bench) -> None:
    with torch.no_grad():
        bench.model.weight.fill_(NAN)
    verdict = bench.ended(STEP, NAN)
    assert verdict.bits == Nonfinite.LOSS | Nonfinite.PARAMETER
    assert (verdict.cured, verdict.first_bad) == (False, "weight")


def left_out_by_script(**more: bool) -> StepReport:
    return StepReport(norm_value=NAN, skipped_by=SkippedBy.SCRIPT, settled=True, stepped=True, **more)


def test_the_skips_of_a_script_are_its_own_where_its_parameters_were_damaged_before(bench: Bench) -> None:
    with torch.no_grad():
        bench.model.weight.fill_(NAN)
    for _ in range(3):
        assert Nonfinite.PARAMETER in bench.ended(left_out_by_script(damaged_before=True), NAN).bits
    assert bench.counted.skipped_by_script == 3


def test_of_a_batch_that_damages_the_parameters_no_skip_is_claimed_and_of_those_after_it_each(bench: Bench) -> None:
    """Whoever changed them, and nobody saw it, may have taken the step."""
    with torch.no_grad():
        bench.model.weight.fill_(NAN)
    for skipped in (0, 1, 2):
        bench.ended(left_out_by_script(), NAN)
        assert bench.counted.skipped_by_script == skipped


def test_totals_go_on_the_wire_under_their_own_names() -> None:
    counted = Counted(*range(1, 12))
    counts = counted.counts(hook_errors=12, records_dropped=13)
    totals = set(Counted.__slots__) - {"evidence", "bad_at"}
    assert all(getattr(counts, name) == getattr(counted, name) for name in totals)
    assert (counts.hook_errors, counts.records_dropped) == (12, 13)


def contents_of(batch: dict[str, Any], prepared: Any = None) -> BatchContents:
    return contents_after(contents_before(batch), prepared)


def test_instances_are_counted_per_image_before_the_batch_travels() -> None:
    batch = {"im_file": ["a", "b"], "batch_idx": torch.tensor([0.0, 1.0, 1.0]), "cls": torch.zeros(3, 1)}
    contents = contents_of(batch, {"img": torch.zeros(2, 3, 32, 64)})
    assert (contents.instances, contents.instances_max, contents.samples) == (3, 2, ("a", "b"))
    assert (contents.size, contents.image_size) == (2, 64)


def test_a_batch_without_objects_has_none() -> None:
    contents = contents_of({"batch_idx": torch.empty(0)})
    assert (contents.instances, contents.instances_max) == (0, 0)
    assert contents_of({"cls": torch.zeros(5)}).instances == 5
    assert contents_of({}).instances is None


def test_a_trainings_digest_depends_on_what_names_it_and_on_nothing_else() -> None:
    arguments = dict.fromkeys(NAMING_ARGUMENTS, "x")
    assert arguments_digest(arguments) == arguments_digest(dict(reversed(arguments.items())) | {"lr0": 0.1})
    assert arguments_digest(arguments) != arguments_digest(arguments | {"data": "y"})


def test_trainings_are_numbered_unless_a_launching_parent_has_said_which(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(connect=lambda _: pytest.fail("not asked for"))
    assert [process.next_training({}).ordinal for _ in range(2)] == [1, 2]
    monkeypatch.setenv("TRAINWARDEN_TRAINING", "7:abc")
    training = process.next_training({})
    assert (training.ordinal, training.digest) == (7, "abc")


@pytest.mark.parametrize("guard_acts", [True, False])
def test_the_ranks_of_a_launching_parent_attach_by_its_environment_alone(
    monkeypatch: pytest.MonkeyPatch, guard_acts: bool
) -> None:
    """Older releases carry none of the parent's callbacks into them."""
    for name in ("TRAINWARDEN_RUN", "TRAINWARDEN_GENERATION", "TRAINWARDEN_NONCE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", "users")
    process = Process(connect=lambda _: pytest.fail("not asked for"), guard_acts=guard_acts)
    described = describe_to_children(process, Training(7, "abc"))
    assert described["PYTHONPATH"].endswith(f"autoattach{os.pathsep}users")
    monkeypatch.setenv("PYTHONPATH", described["PYTHONPATH"])
    assert describe_to_children(process, Training(7, "abc")) == described, "it is there already"
    asks = "import os, sys; print([type(f).__name__ for f in sys.meta_path][:1], os.environ.get('TRAINWARDEN_GUARD'))"
    answer = subprocess.check_output([sys.executable, "-c", asks], env=os.environ | described, text=True)
    assert answer.split() == ["['TrainerFinder']", str(None if guard_acts else "off")]
