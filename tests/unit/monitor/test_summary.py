"""The summary: at most eight plain lines, and the same ones in the report, in `status` and in the alert."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from monitor.core.model import (
    ActionKind,
    Cause,
    CureWatch,
    Diagnosis,
    EpochStatus,
    IncidentAction,
    IncidentState,
    IncidentTotals,
    Severity,
)
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import RunState, Streak
from monitor.core.state.status import status_of
from monitor.core.summary import LABELS, Summary, shown_incident, summary_of
from monitor.daemon.api.snapshots import detail_of
from monitor.report import render
from monitor.report.report_input import ReportInput
from monitor.report.text import safe
from monitor.report.whole import blocks, markdown
from tests.harness.night import BATCHES_SEEN, NOW_S, night
from tests.harness.report_inputs import rolled_back
from tests.harness.simulation import supervised
from trainer_hooks.wire.run_documents import RunSpec

MARGIN = "2 h 10 min before the deadline of 2025-11-28 00:00 UTC"


def of_night(**changes: Any) -> Summary:
    """The summary of the night, with fields of its incident changed."""
    run, incident = night()
    run.supervisor_pid = 4711
    for name, value in changes.items():
        setattr(incident, name, value)
    return summary_of(run, run.training, incident, NOW_S)


def test_it_answers_the_questions_of_the_night_in_eight_lines() -> None:
    assert of_night().lines() == (
        "What happened: 73 of 7,550 batches in epoch 4 gave NaN or infinity (0.97 %).",
        "Since: Epoch 4, batch 32. The incident opened on 2025-11-18 07:59 UTC, 7,517 batches later.",
        "Likely cause: Not known.",
        "Done: The training is being rolled back to the end of epoch 3: learning rate (lr0) 0.0005 -> 0.00025.",
        "Now: Not known yet: the change is not in force.",
        "Time lost: 53 min 49 s so far: 7,550 batches to train again.",
        f"Deadline: Uncertain: at this pace the training ends on 2025-11-27 21:49 UTC, {MARGIN}.",
        "What to do: Nothing. The next step is automatic.",
    )


def test_bad_batches_of_later_epochs_are_counted_too() -> None:
    run, incident = night()
    row = run.training.epochs[-1]
    later = EpochRow(row.generation, 5, 1000, NOW_S, batches=1000, nonfinite=7, status=EpochStatus.ENDED)
    run.training.epochs.append(later)
    assert summary_of(run, run.training, incident, NOW_S).happened == (
        "73 of 7,550 batches in epoch 4 gave NaN or infinity (0.97 %). Up to epoch 5: 80 of 8,550 batches."
    )
    later.nonfinite = 0
    assert "Up to" not in summary_of(run, run.training, incident, NOW_S).happened


def test_there_are_never_more_than_eight_lines() -> None:
    assert len(LABELS) == 8


def test_a_cause_is_named_only_where_the_diagnosis_names_one() -> None:
    at = night()[1].onset
    cause = Cause("learning_rate", "the learning rate is too high", 5.0, ("it jumped",), (), "Halve it.")
    found = Diagnosis(at, at, "", "learning_rate", "", (cause,), (), ())
    assert of_night(diagnosis=found).cause == "The learning rate is too high."
    weak = msgspec.structs.replace(found, verdict="")
    expected = "Not known. Not enough evidence; the best guess is: the learning rate is too high."
    assert of_night(diagnosis=weak).cause == expected
    assert of_night(diagnosis=msgspec.structs.replace(weak, causes=())).cause == "Not known. Not enough evidence."
    over = of_night(diagnosis=found, state=IncidentState.RESOLVED, outcome="1000 healthy batches")
    assert over.to_do == "Nothing. To confirm the cause: Halve it."


@pytest.mark.parametrize(
    ("changes", "now", "to_do"),
    [
        ({"state": IncidentState.OPEN, "action": IncidentAction()},
         "Not healthy: the problem is still there.", "automatic"),
        ({"state": IncidentState.WATCHING, "watch": CureWatch(needed=1000, seen=250)},
         "Not proven healthy yet: 250 of the 1,000 healthy batches that prove the cure are done.", "An alert follows"),
        ({"state": IncidentState.RELAPSED}, "Not healthy: the problem came back after the change.", "automatic"),
        ({"state": IncidentState.RESOLVED, "outcome": "1000 healthy batches"}, "Healthy: 1000 healthy batches.", "No"),
        ({"state": IncidentState.GIVEN_UP, "action": IncidentAction(ActionKind.STOP, "there is no clean checkpoint")},
         "Not healthy: there is no clean checkpoint.", "start the training again from a clean checkpoint"),
        ({"state": IncidentState.HANDED_OVER}, "Not checked: a person took over.", "Nothing."),
        ({"state": IncidentState.LOST}, "Not known: the training process vanished.", "Nothing."),
        ({"state": IncidentState.CLOSED}, "Not proven healthy: the run ended before that.", "Check the final metrics"),
    ],
)  # fmt: skip
def test_each_state_says_whether_training_is_healthy_and_what_to_do(
    changes: dict[str, Any], now: str, to_do: str
) -> None:
    found = of_night(**changes)
    assert found.now == now
    assert to_do in found.to_do


def test_where_nobody_may_act_a_person_has_to_decide() -> None:
    run, incident = night()
    run.supervisor_pid, run.spec = 4711, msgspec.structs.replace(run.spec, act=False)
    incident.state, incident.action.kind, incident.totals.attempts = IncidentState.WATCHING, ActionKind.NONE, 0
    incident.action.reason = "this run was started to be observed only"
    found = summary_of(run, run.training, incident, NOW_S)
    assert found.done == "Nothing: this run was started to be observed only."
    assert found.to_do.startswith("Decide: let it train, or stop it with: trainwarden stop night-1.")


def test_a_lost_supervisor_comes_before_everything_else() -> None:
    run, incident = night()
    assert run.supervisor_pid == 0
    assert "trainwarden run --adopt night-1" in summary_of(run, run.training, incident, NOW_S).to_do


@pytest.mark.parametrize(("days", "word"), [(5, "Missed"), (15, "Kept"), (None, "None was given.")])
def test_the_deadline_is_kept_missed_or_was_not_given(days: int | None, word: str) -> None:
    run, incident = night()
    run.spec = msgspec.structs.replace(run.spec, deadline_s=None if days is None else NOW_S + days * 86400)
    assert summary_of(run, run.training, incident, NOW_S).deadline.startswith(word)


def test_time_lost_is_batches_and_time_without_training() -> None:
    cost = IncidentTotals(batches_discarded=BATCHES_SEEN, downtime_s=72.0)
    found = of_night(totals=cost, state=IncidentState.WATCHING)
    assert found.cost == "55 min 1 s: 7,550 batches to train again and 1 min 12 s without training."


def test_without_snapshots_the_time_without_training_would_have_been_spent_as_well() -> None:
    run, incident = night()
    plan = incident.action.plan
    assert plan is not None
    assert plan.checkpoint is not None
    snapshot = msgspec.structs.replace(plan.checkpoint, extra_batches=BATCHES_SEEN - 100)
    incident.action.plan = msgspec.structs.replace(plan, snapshot=snapshot)
    incident.state, incident.totals = IncidentState.WATCHING, IncidentTotals(batches_discarded=100, downtime_s=72.0)
    assert summary_of(run, run.training, incident, NOW_S).cost == (
        "1 min 55 s: 100 batches to train again and 1 min 12 s without training. "
        "Without snapshots it would have been 7,550 batches, 55 min 1 s in all."
    )


def test_a_healthy_run_says_so() -> None:
    simulation = supervised(epochs=2, batches_per_epoch=40)
    simulation.train()
    found = summary_of(
        simulation.run,
        simulation.run.training,
        shown_incident(simulation.run, simulation.run.training),
        simulation.now_s,
    )
    assert found.happened == "No problem was found in 80 batches."
    assert found.now == "The training finished."
    assert (found.cause, found.done, found.cost, found.to_do) == ("", "", "None.", "Nothing.")


def test_a_failed_run_says_what_to_do() -> None:
    run = RunState(spec=RunSpec(run="r", argv=("python",), cwd="/", created_s=NOW_S, act=True), policy="", opened_s=0)
    run.ended, run.ended_s, run.ended_detail = "failed", NOW_S, "exit code 1"
    found = summary_of(run, run.training, None, NOW_S)
    assert found.happened == "The run failed after 0 batches: exit code 1."
    assert found.to_do.startswith("Read the last lines that the training printed")


def over(state: IncidentState, ended: str) -> RunState:
    """The run of the night, over, with its incident in `state`."""
    run, incident = night()
    run.ended, run.ended_s, incident.state, incident.action = ended, NOW_S, state, IncidentAction()
    return run


def test_a_finished_run_does_not_deny_an_incident_that_is_over() -> None:
    """The message about the whole run names no single incident, and says that there was one."""
    run = over(IncidentState.RECOVERED, "finished")
    found = summary_of(run, run.training, None, NOW_S)
    assert found.happened.startswith("1 incident in ")
    assert found.happened.endswith(" batches. The last one: recovered.")
    assert found.to_do == "Nothing."


def test_a_finished_run_that_was_not_proven_healthy_is_to_be_checked() -> None:
    run = over(IncidentState.CLOSED, "finished")
    assert "Check the final metrics" in summary_of(run, run.training, None, NOW_S).to_do


def test_a_run_that_failed_long_after_a_cured_incident_says_how_it_failed() -> None:
    run = over(IncidentState.RESOLVED, "failed")
    run.ended_detail = "exit code 1: ImportError"
    assert shown_incident(run, run.training) is None
    found = summary_of(run, run.training, shown_incident(run, run.training), NOW_S)
    assert "exit code 1: ImportError" in found.happened
    assert found.to_do.startswith("Read the last lines")
    run = over(IncidentState.GIVEN_UP, "failed")
    assert shown_incident(run, run.training) is not None


def test_a_run_that_was_given_up_and_stopped_says_how_to_go_on() -> None:
    run = over(IncidentState.GIVEN_UP, "stopped")
    to_do = summary_of(run, run.training, shown_incident(run, run.training), NOW_S).to_do
    assert to_do.startswith("Decide how to go on: start the training again from a clean checkpoint")
    assert status_of(run) == "given up", "it is not as if a person had stopped it"
    assert status_of(over(IncidentState.RESOLVED, "stopped")) == "stopped"


@pytest.mark.parametrize("days", [5, None])
def test_of_a_training_that_is_being_stopped_no_end_is_foretold(days: int | None) -> None:
    run, incident = night()
    run.spec = msgspec.structs.replace(run.spec, deadline_s=None if days is None else NOW_S + days * 86400)
    incident.state, incident.action = IncidentState.GIVEN_UP, IncidentAction(ActionKind.STOP, "no clean checkpoint")
    found = summary_of(run, run.training, incident, NOW_S).deadline
    assert found == (
        "" if days is None else "Not reached: the training is stopped. The deadline is 2025-11-23 08:00 UTC."
    )


def test_report_status_and_alert_begin_with_the_same_lines() -> None:
    simulation = rolled_back()
    (incident,) = simulation.run.training.ledger.incidents
    lines = summary_of(simulation.run, simulation.run.training, incident, simulation.now_s).labelled()
    top = [f"- **{label}:** {safe(text, 600)}" for label, text in lines]
    assert (
        render(simulation.run, simulation.run.training, incident, simulation.now_s).splitlines()[4 : 4 + len(top)]
        == top
    )
    assert markdown(blocks(ReportInput(simulation.run, simulation.now_s))).splitlines()[4 : 4 + len(top)] == top
    assert list(detail_of(simulation.run, simulation.now_s, 9469).in_short) == lines
    for alert in simulation.alerts:
        if alert.incident:
            assert alert.text.startswith("What happened: 1 of 36 batches in epoch 4 gave NaN or infinity")
    ended = next(alert for alert in simulation.alerts if alert.kind == "resolved")
    after_it = "Now: "  # the training has ended since
    assert [
        line
        for line in summary_of(simulation.run, simulation.run.training, incident, ended.at_s).lines()
        if line not in ended.text and not line.startswith(after_it)
    ] == []


def test_other_findings_that_continue_are_named_and_those_of_the_incident_itself_are_not() -> None:
    """With an incident and without one."""
    run, incident = night()
    training = run.training
    [own, *_] = incident.findings
    other = msgspec.structs.replace(own, detector="loss_spike", family="loss", severity=Severity.WARNING)
    training.findings = [own, other]
    training.streaks = {
        f"{f.detector}/{f.rank}": Streak(f.at.generation, f.at.count, f.at.count, f.severity) for f in (own, other)
    }
    training.ranks[0].counts = msgspec.structs.replace(training.ranks[0].counts, batches=own.at.count)
    named = summary_of(run, training, incident, NOW_S).now
    assert "Other findings lately: loss_spike (warning)." in named
    alone = summary_of(run, training, None, NOW_S).now
    assert f"Other findings lately: {own.detector} (critical), loss_spike (warning)." in alone
