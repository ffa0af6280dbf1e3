"""Which training of a relaunched script takes the plan that waits: the one that it names, and a plan ends no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import plans
from trainer_hooks.identity import Identity
from trainer_hooks.integrations.ultralytics import start
from trainer_hooks.integrations.ultralytics.process import Training
from trainer_hooks.trainings import ClaimedTraining
from trainer_hooks.wire.runfolder import ENV_GENERATION, ENV_PLAN, RunFolder

DIGEST, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def plan_for_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan for training 2 of the run, whose arguments are known, waits for generation 2."""
    path = plans.write(tmp_path, plans.plan(training=2, ordinal=2, arguments_digest=DIGEST))
    monkeypatch.setenv(ENV_PLAN, str(path))
    monkeypatch.setenv(ENV_GENERATION, "2")
    return path


def training(number: int, ordinal: int, digest: str = DIGEST, trouble: str = "") -> Training:
    """A training that claimed this number in the relaunched script."""
    who = Identity("r", RunFolder(Path("/runs/r")), 2, "n", 0, True, None, number, ordinal)
    return Training(ordinal, digest, claimed=ClaimedTraining(who, trouble))


@pytest.mark.usefixtures("plan_for_2")
def test_the_training_that_the_plan_names_takes_it_although_another_one_is_first() -> None:
    assert start.with_plan(training(1, 1)).plan is None
    found = start.with_plan(training(2, 2)).plan
    assert found is not None
    assert found.training == 2


def test_a_child_process_takes_the_plan_for_the_first_training_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fold is the first of its process: the number tells them apart."""
    path = plans.write(tmp_path, plans.plan(training=2, ordinal=1, arguments_digest=DIGEST))
    monkeypatch.setenv(ENV_PLAN, str(path))
    monkeypatch.setenv(ENV_GENERATION, "2")
    assert [start.with_plan(training(number, 1)).plan is not None for number in (1, 2, 3)] == [False, True, False]


@pytest.mark.usefixtures("plan_for_2")
@pytest.mark.parametrize(
    "other", [training(2, 1), training(2, 2, OTHER), training(2, 2, OTHER, "no number could be claimed")],
    ids=["ordinal", "arguments", "a number that was not claimed"],
)  # fmt: skip
def test_a_plan_whose_number_alone_fits_ends_no_process(other: Training) -> None:
    assert start.with_plan(other).plan is None


@pytest.mark.usefixtures("plan_for_2")
def test_without_numbers_a_plan_for_other_arguments_ends_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    """The training's place in its process is all that there is: it may be the one that was to be saved."""
    with pytest.raises(SystemExit) as ended:
        start.with_plan(Training(2, OTHER))
    assert ended.value.code == 75
    assert "its arguments have changed" in capsys.readouterr().err
