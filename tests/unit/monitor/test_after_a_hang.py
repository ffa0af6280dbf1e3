"""A training that stood still, goes on, and meets another trouble: that is another incident."""

from __future__ import annotations

from monitor.core.model import Family, IncidentState
from tests.harness.histories.hangs import goes_on_by_itself_then_nan, stands_still_then_nan
from tests.harness.simulation import Simulation


def incidents(simulation: Simulation) -> list[tuple[str, IncidentState]]:
    return [(each.family, each.state) for each in simulation.run.training.ledger.incidents]


def test_nan_after_a_new_start_is_no_hang() -> None:
    simulation = stands_still_then_nan()
    assert incidents(simulation) == [
        (Family.HANG, IncidentState.RESOLVED), (Family.NONFINITE, IncidentState.MITIGATING),
    ]  # fmt: skip
    assert not any("it stands still (try 2" in message for message in simulation.messages)
    assert any("Now: Over: training went on after the new start" in message for message in simulation.messages)


def test_nan_after_a_hang_that_ended_by_itself_is_decided_by_its_own_rows() -> None:
    """It was once answered as the hang: "it stands still", and nothing was done about the NaN."""
    simulation = goes_on_by_itself_then_nan()
    assert incidents(simulation) == [
        (Family.HANG, IncidentState.RECOVERED), (Family.NONFINITE, IncidentState.WATCHING),
    ]  # fmt: skip
    reason = simulation.run.training.ledger.incidents[-1].action.reason
    assert reason == "the state is clean; it is decided after 8 bad batches"
