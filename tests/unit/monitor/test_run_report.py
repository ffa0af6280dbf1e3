"""The report of a whole run: what a person asks who comes back to it."""

from __future__ import annotations

import pytest

from monitor.core.model import ActionKind, Family, Incident, IncidentState, Position, Severity
from monitor.core.model.incident import IncidentAction
from monitor.core.state.run import RunState, TrainingState
from monitor.report.incident_records import annotations_of
from monitor.report.report_input import ReportInput, without_statistics
from monitor.report.whole import blocks, markdown
from tests.harness.night import NOW_S, night
from tests.harness.report_inputs import report_input_of, rolled_back
from tests.harness.simulation import supervised
from trainer_hooks.wire.run_documents import RunSpec


@pytest.fixture(scope="module")
def report_input() -> ReportInput:
    return report_input_of(rolled_back(), title="the night")


@pytest.fixture(scope="module")
def text(report_input: ReportInput) -> str:
    return markdown(blocks(report_input))


def section(text: str, title: str) -> str:
    """The lines below a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, title: str) -> list[str]:
    """The rows of the table below a heading."""
    return [line for line in section(text, title).splitlines() if line.startswith("| ")][2:]


def test_it_begins_with_the_run_and_where_it_stands(text: str) -> None:
    assert text.startswith("# Run the night\n\n**Finished** · run night · generation 2 ")
    told = section(text, "The run in numbers")
    assert "End: finished on" in told
    assert "in 2 generations, " in told
    assert "Rollbacks: 1 of 3 allowed" in told
    assert "Last metrics: mAP50 0.7" in told


def test_every_pass_through_an_epoch_has_its_row(report_input: ReportInput, text: str) -> None:
    passes = [(str(row.epoch), str(row.generation), row.status) for row in report_input.run.training.epochs]
    assert [tuple(row.strip("| ").split(" | "))[:3] for row in rows(text, "Epochs")] == passes
    assert ("4", "1", "discarded") in passes


def test_every_finding_stands_with_its_place_its_onset_its_value_and_its_rule(
    report_input: ReportInput, text: str
) -> None:
    told = rows(text, "Findings")
    assert len(told) == len(report_input.run.training.findings)
    assert any(row.startswith("| critical | poisoned_state | epoch 4, batch 35 |") for row in told)


def test_what_was_ordered_is_told_with_what_it_cost(report_input: ReportInput, text: str) -> None:
    (row,) = rows(text, "Orders and rollbacks")
    assert row.startswith("| 1 | rolled back | epoch 4, batch ")
    assert "| end of epoch 3 |" in row
    assert "- Orders to stop: 1 applied." in section(text, "Orders and rollbacks")
    lost = report_input.run.training.totals.batches_discarded
    assert lost > 0
    assert f"thrown away: {lost} batch" in section(text, "Time lost")


def test_each_incident_is_told_in_full_below_the_run(text: str) -> None:
    told = section(text, "Incident 1 of the night")
    assert "### What happened" in told
    assert "### The timeline" in told
    assert text.count("\n# ") == 0, "only the run's own heading is of the first level"


def test_the_checkpoint_that_was_gone_back_to_is_marked(text: str) -> None:
    assert any("gone back to" in row and row.startswith("| 3 | 1 |") for row in rows(text, "Checkpoints"))


def test_a_run_without_trouble_says_so() -> None:
    simulation = supervised(epochs=2, batches_per_epoch=40)
    simulation.train()
    text = markdown(blocks(report_input_of(simulation)))
    assert "- Incidents: none." in text
    assert "None of 1 min 20 s: no trained batch was thrown away." in text
    assert "## Orders and rollbacks" not in text


def test_a_run_that_has_shown_nothing_yet_still_gets_a_report() -> None:
    spec = RunSpec(run="r", argv=("python",), cwd="/", created_s=NOW_S, act=True)
    text = markdown(blocks(ReportInput(RunState(spec=spec, policy="", opened_s=NOW_S), NOW_S)))
    assert text.startswith("# Run r\n\n**Starting**")
    assert "too few batches to measure" not in text
    assert "## Epochs" not in text


def test_a_live_run_says_where_it_is_and_when_it_ends() -> None:
    run, _ = night()
    text = markdown(blocks(ReportInput(run, NOW_S)))
    assert "Where: epoch 4 of 50, batch 7,549 of 41,163." in text
    assert "It ends on 2025-11-27 21:49:35 UTC" in section(text, "Deadline")


def test_only_the_latest_incidents_are_told_in_full_and_every_one_is_listed() -> None:
    run, incident = night()
    incident.state = IncidentState.RESOLVED
    run.training.ledger.incidents = [incident] * 14
    text = markdown(blocks(ReportInput(run, NOW_S)))
    assert len(rows(text, "Incidents")) == 14
    assert text.count("## Incident 1 of") == 10


def test_a_report_needs_no_statistics_and_leaves_the_run_as_it_is() -> None:
    simulation = rolled_back()
    stripped = without_statistics(simulation.run)
    assert all(not rank.learned.signals for rank in stripped.training.ranks.values())
    assert all(checkpoint.learned is None for checkpoint in stripped.training.checkpoints)
    assert any(checkpoint.learned is not None for checkpoint in simulation.run.training.checkpoints)
    now_s = simulation.now_s
    assert markdown(blocks(ReportInput(stripped, now_s))) == markdown(blocks(ReportInput(simulation.run, now_s)))


def test_a_checkpoint_is_gone_back_to_only_once_a_generation_trains_from_it() -> None:
    training = TrainingState(1)
    action = IncidentAction(ActionKind.ROLLBACK, "", target="d1")
    at = Position(1, 1, 0, 1)
    state = IncidentState.MITIGATING
    incident = Incident("i", 1, Family.NONFINITE, Severity.CRITICAL, state, 1.0, at, at, action=action)
    assert annotations_of(training, [incident]) == {"d1": "being gone back to"}
    incident.action.resumed_s = 5.0
    assert annotations_of(training, [incident]) == {"d1": "gone back to"}
    incident.action = IncidentAction(ActionKind.STOP, "", target="d1")
    assert annotations_of(training, [incident]) == {}, "the order was refused, and the training stopped"
    training.ledger.counters.rollbacks["applied"] = 1
    assert annotations_of(training, [incident]) == {"d1": "gone back to"}
