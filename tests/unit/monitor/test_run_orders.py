"""An order that would come to nothing is refused before it reaches the training, with the reason."""

from __future__ import annotations

from monitor.core.model import CommandKind
from monitor.daemon.api.run_orders import refusal
from monitor.daemon.api.snapshots import kept_checkpoints, run_summary_of
from tests.harness.report_inputs import rolled_back
from tests.harness.simulation import supervised


def test_a_rollback_without_a_checkpoint_is_refused() -> None:
    """It opened an incident, changed the settings of a healthy training and promised that its steps were skipped."""
    simulation = supervised(epochs=2, batches_per_epoch=40)
    simulation.batch(1.0, 1.0)
    simulation.run.supervisor_pid = 4711
    summary = run_summary_of(simulation.run)
    assert summary.live
    assert kept_checkpoints(simulation.run) == 0
    why = refusal(summary, CommandKind.ROLLBACK, 0)
    assert why.endswith("no checkpoint or snapshot of it was seen yet, so there is nothing to go back to")
    assert not refusal(summary, CommandKind.ROLLBACK, 1)
    assert not refusal(summary, CommandKind.STOP, 0)


def test_of_a_run_that_is_over_each_order_is_refused_in_a_sentence() -> None:
    over = rolled_back().run
    assert kept_checkpoints(over) > 0
    assert refusal(run_summary_of(over), CommandKind.ROLLBACK, 1).endswith("there is nothing to roll back")
    assert refusal(run_summary_of(over), CommandKind.STOP, 1).endswith("there is nothing to stop")
