"""A training that went back in its process trains some epochs again: what is said is of the right pass."""

from __future__ import annotations

import pytest

from tests.harness.histories.going_back import went_back_in_its_process_into_the_epoch_before
from tests.harness.said import said_of
from tests.harness.simulation import Simulation


@pytest.fixture(scope="module")
def gone_back() -> Simulation:
    """Back from epoch 4 to batch 62 of epoch 3, and on into epoch 4."""
    return went_back_in_its_process_into_the_epoch_before()


def report(simulation: Simulation, title: str) -> str:
    """A section of the incident's report."""
    text = said_of(simulation)["report of training 1"].partition("## Incident 1 of")[2]
    return text.partition(f"\n### {title}")[2].partition("\n### ")[0]


def test_the_batches_before_it_went_back_are_no_proof_that_the_change_helps() -> None:
    simulation = went_back_in_its_process_into_the_epoch_before()
    assert simulation.incident.totals.rollbacks == 1
    assert not any("the change helps" in message for message in simulation.messages)
    trial, counts = simulation.incident.trial, simulation.run.training.ranks[0].counts
    assert (trial.from_batch, trial.from_bad) == (counts.batches - 28, counts.nonfinite_batches)


def test_the_rates_are_compared_with_the_epoch_before_the_onset_and_not_with_its_second_pass(
    gone_back: Simulation,
) -> None:
    assert "| weight | 0.0005 | 0.0005 |" in report(gone_back, "Learning rate by group")
    assert "The rate jumped" not in report(gone_back, "Learning rate by group")


def test_what_the_plan_changed_is_no_change_before_the_onset(gone_back: Simulation) -> None:
    assert "No setting changed" in report(gone_back, "What changed since epoch 3")


def test_the_epochs_stand_side_by_side_as_they_were_trained(gone_back: Simulation) -> None:
    rows = [line.split(" | ") for line in report(gone_back, "Epochs side by side").splitlines() if "| 1 |" in line]
    assert [(row[0].strip("| "), row[2]) for row in rows] == [
        ("1", "ended"), ("2", "ended"), ("3", "discarded"), ("4", "discarded"), ("3", "ended"), ("4", "running"),
    ]  # fmt: skip


def test_the_option_that_was_chosen_is_the_one_that_was_taken(gone_back: Simulation) -> None:
    (chosen,) = [line for line in report(gone_back, "Options").splitlines() if "**chosen**" in line]
    assert "goes back to batch 62 of epoch 3" in chosen
