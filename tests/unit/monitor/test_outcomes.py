"""How a generation ended is decided in one function."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from monitor.core.model.outcomes import FAILURES, OF_A_CRASH, RUN_OUTCOMES, SIGNALS, may_be_a_crash, outcome_of
from trainer_hooks.wire.run_documents import Exit, GenerationOutcome

FINISHED, STOPPED, INTERRUPTED = GenerationOutcome.FINISHED, GenerationOutcome.STOPPED, GenerationOutcome.INTERRUPTED
KILLED, FAILED, UNKNOWN = GenerationOutcome.KILLED, GenerationOutcome.FAILED, GenerationOutcome.UNKNOWN


def ended(code: int | None = 0, number: int | None = None, **more: Any) -> Exit:
    return Exit(number=1, code=code, signal=number, ended_s=0.0, **more)


@pytest.mark.parametrize(
    ("over", "known", "outcome"),
    [
        (ended(0), {}, FINISHED),
        (ended(1), {}, FAILED),
        (ended(None, 11), {}, FAILED),
        (ended(None), {}, UNKNOWN),
        (ended(75), {"order_obeyed": True}, STOPPED),
        (ended(None, 9), {"order_obeyed": True, "made_to_leave": True}, STOPPED),
        (ended(0), {"made_to_leave": True}, KILLED),
        (ended(None, 2, asked=True), {}, INTERRUPTED),
        (ended(None, 9, asked=True), {"order_obeyed": True, "made_to_leave": True}, INTERRUPTED),
    ],
)
def test_the_outcome_follows_from_what_is_known(over: Exit, known: dict[str, bool], outcome: GenerationOutcome) -> None:
    assert outcome_of(over, **known) is outcome


@pytest.mark.parametrize("outcome", list(GenerationOutcome))
def test_what_the_supervisor_decided_stands(outcome: GenerationOutcome) -> None:
    assert outcome_of(ended(1, outcome=outcome), order_obeyed=True) is outcome


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_process_that_crashes_after_its_training_had_finished_has_failed_at_nothing(
    outcome: GenerationOutcome,
) -> None:
    assert outcome_of(ended(1, outcome=outcome), training_finished=True) is FINISHED


def test_a_training_that_was_stopped_is_not_called_finished_for_an_earlier_one() -> None:
    assert outcome_of(ended(75, outcome=STOPPED), training_finished=True) is STOPPED


def test_every_outcome_of_a_generation_has_one_of_its_run() -> None:
    assert set(RUN_OUTCOMES) == set(GenerationOutcome)


@pytest.mark.parametrize(
    ("over", "crash"),
    [
        (ended(1), True),
        (ended(None, 9), True),
        (ended(137), True),
        (ended(None, 11), True),
        (ended(None), True),
        (ended(0), False),
        (ended(None, 2), False),
        (ended(None, 15), False),
        (ended(143), False),
        (ended(None, 1), False),
    ],
)
def test_a_crash_is_what_no_person_sends(over: Exit, crash: bool) -> None:
    assert may_be_a_crash(over) is crash


def test_signals_have_the_names_that_this_system_gives_them() -> None:
    assert {int(number): number.name for number in signal.Signals if number in SIGNALS} == SIGNALS
    assert tuple(name for name in OF_A_CRASH if name in SIGNALS.values()) == OF_A_CRASH
