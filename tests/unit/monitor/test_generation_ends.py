"""What the core makes of the end of a generation: who is alerted, and who is not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from monitor.core.drive import RunDriver
from monitor.core.model import CommandGiven, CommandKind, GenerationExited, RaiseAlert, ReceiptFound, SendOrder
from monitor.core.policy.settings import Policy
from tests.harness.trainer import training_started
from trainer_hooks.wire.messages import TrainingEnded
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

STARTED = training_started(RunFolder(Path("/runs/night")))
FINISHED = TrainingEnded(0.0, "finished", "", 3, {})


@pytest.fixture
def run() -> RunDriver:
    spec = RunSpec(run="night", argv=("python", "train.py"), cwd="/", created_s=0.0, act=True)
    driver = RunDriver("night", supervisor_pid=7)
    driver.open(spec, Policy().model_dump_json())
    driver.start_generation()
    driver.send(STARTED)
    return driver


def alerts(run: RunDriver, over: Exit, relaunch: bool = False) -> list[str]:
    """The kinds of alerts that the exit of generation 1 causes."""
    effects = run.feed(GenerationExited("night", over, relaunch)).effects
    return [effect.kind for effect in effects if isinstance(effect, RaiseAlert)]


def ended(code: int | None, outcome: GenerationOutcome | None = None, asked: bool = False) -> Exit:
    """`outcome` None: as a supervisor of the first version wrote it."""
    return Exit(number=1, code=code, signal=None, ended_s=1.0, asked=asked, outcome=outcome)


@pytest.mark.parametrize("outcome", [GenerationOutcome.FAILED, GenerationOutcome.KILLED, GenerationOutcome.UNKNOWN])
def test_an_end_that_nobody_asked_for_is_alerted(run: RunDriver, outcome: GenerationOutcome) -> None:
    assert alerts(run, ended(1, outcome)) == ["run_failed"]


@pytest.mark.parametrize(
    "outcome", [GenerationOutcome.FINISHED, GenerationOutcome.STOPPED, GenerationOutcome.INTERRUPTED]
)
def test_an_end_that_was_wanted_wakes_nobody_whatever_the_exit_code(run: RunDriver, outcome: GenerationOutcome) -> None:
    assert alerts(run, ended(75, outcome)) == []


def test_a_generation_that_failed_and_is_started_again_wakes_nobody(run: RunDriver) -> None:
    assert alerts(run, ended(1, GenerationOutcome.FAILED), relaunch=True) == []


def test_an_exit_of_the_first_version_is_understood(run: RunDriver) -> None:
    assert alerts(run, ended(1)) == ["run_failed"]


@pytest.mark.parametrize("over", [ended(0), ended(130, asked=True)])
def test_an_exit_of_the_first_version_that_was_wanted_wakes_nobody(run: RunDriver, over: Exit) -> None:
    assert alerts(run, over) == []


def test_an_exit_of_the_first_version_after_an_obeyed_order_to_stop_wakes_nobody(run: RunDriver) -> None:
    effects = run.feed(CommandGiven("night", CommandKind.STOP, "ann")).effects
    (order,) = [effect.order for effect in effects if isinstance(effect, SendOrder)]
    receipt = Receipt(
        order=order.id, generation=1, outcome="applied", detail="", epoch=1, batch=1, read_back={}, written_s=0.5
    )
    run.feed(ReceiptFound("night", receipt))
    assert alerts(run, ended(75)) == []


def test_a_crash_after_the_training_had_finished_wakes_nobody(run: RunDriver) -> None:
    run.send(FINISHED)
    assert alerts(run, ended(139, GenerationOutcome.FAILED)) == []


def test_a_second_training_that_dies_is_alerted_although_the_first_one_finished(run: RunDriver) -> None:
    """A process killed by the kernel sends no end of its training."""
    run.send(FINISHED)
    run.send(msgspec.structs.replace(STARTED, ordinal=2))
    assert alerts(run, ended(137, GenerationOutcome.FAILED)) == ["run_failed"]
