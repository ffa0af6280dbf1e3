"""Milestones, the end of a training, reminders and the summary of the day are sent where people asked for them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from monitor.core.drive import RunDriver
from monitor.core.model import (
    AlertKind,
    GenerationExited,
    IncidentAcknowledged,
    Notify,
    Output,
    RaiseAlert,
    RunEnded,
    Severity,
    SilenceSet,
)
from monitor.core.policy.settings import Policy
from monitor.daemon.alert_clock import due
from monitor.daemon.alert_flow import AlertFlow, alert_of, rules_of, wanted
from monitor.daemon.heartbeat import progresses
from monitor.daemon.receivers import Receivers
from monitor.policyfile.load import policy_from_text
from tests.harness.trainer import batch, training_started
from trainer_hooks.wire.messages import Counts, EpochEnded, TrainingEnded
from trainer_hooks.wire.run_documents import Exit, RunOutcome, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

START_S = 1_763_467_200.0  # 2025-11-18 12:00 UTC
MAP = "metrics/mAP50-95(B)"


class Night:
    """A run that is driven by hand."""

    def __init__(self, policy: str = "", supervisor: int = 11) -> None:
        self.policy = policy_from_text(f"table: {{adjust_after: 3, early_share: 0}}\n{policy}", "p")
        self.driver = RunDriver("night", now_s=START_S, supervisor_pid=supervisor)
        spec = RunSpec(run="night", title="Night of <b>", argv=(), cwd="/", created_s=0.0, act=True)
        self.driver.open(spec, self.policy.model_dump_json())
        self.driver.start_generation()
        self.driver.send(training_started(RunFolder(Path("/nowhere/night")), 1))
        self.batches = 0

    def trains(self, count: int, bad: int = 0) -> list[RaiseAlert]:
        alerts: list[RaiseAlert] = []
        for number in range(count):
            self.batches += 1
            spoiled = number >= count - bad
            seen = max(0, bad - (count - number - 1)) if spoiled else 0
            counts = Counts(batches=self.batches, steps=self.batches, nonfinite_batches=seen, nonfinite_loss=seen)
            alerts += raised(self.driver.send(batch(counts, bad=spoiled)))
        return alerts

    def ends_epoch(self, epoch: int, value: float) -> list[RaiseAlert]:
        return raised(self.driver.send(EpochEnded(START_S, epoch, 60.0, (), {MAP: value}, None)))

    def exits(self) -> None:
        over = Exit(number=1, code=0, signal=None, ended_s=1.0)
        self.driver.feed(GenerationExited("night", over, relaunch=False))


def raised(output: Output) -> list[RaiseAlert]:
    return [effect for effect in output.effects if isinstance(effect, RaiseAlert)]


def test_milestones_are_off_by_default() -> None:
    night = Night()
    night.trains(3)
    assert night.ends_epoch(1, 0.5) == []


def test_epoch_1_and_every_so_many_epochs_are_reported_with_their_metrics() -> None:
    night = Night("milestones: {first_epoch: true, every_epochs: 2}")
    found = []
    for epoch in (1, 2, 3, 4):
        night.trains(2)
        found += night.ends_epoch(epoch, 0.1 * epoch)
    assert [alert.title for alert in found] == [
        "Night of <b>: epoch 1 is done",
        "Night of <b>: epoch 2 is done",
        "Night of <b>: epoch 4 is done",
    ]
    assert f"{MAP} 0.1" in found[0].text
    assert found[0].id == "night/milestone/epoch-1"


@pytest.mark.parametrize(("lower", "titles"), [("false", [2, 4]), ("true", [3])])
def test_a_new_best_value_is_reported_in_the_direction_that_is_better(lower: str, titles: list[int]) -> None:
    night = Night(f"milestones: {{best: '{MAP}', lower_is_better: {lower}}}")
    found = []
    for epoch, value in enumerate((0.3, 0.4, 0.2, 0.5), start=1):
        night.trains(2)
        found += [(epoch, alert) for alert in night.ends_epoch(epoch, value)]
    assert [epoch for epoch, _ in found] == titles
    assert all(alert.kind is AlertKind.MILESTONE for _, alert in found)


def test_a_metric_that_is_not_there_is_said_once() -> None:
    night = Night("milestones: {best: mAP}")
    night.trains(2)
    effects = night.driver.send(EpochEnded(START_S, 1, 60.0, (), {MAP: 0.1}, None)).effects
    lines = [effect.text for effect in effects if isinstance(effect, Notify)]
    assert any("the training has no metric 'mAP'; it has metrics/mAP50-95(B)" in line for line in lines)


def test_a_run_that_finishes_is_reported_once_where_it_was_asked_for() -> None:
    night = Night("alerts: {finished: true}")
    night.trains(5)
    assert raised(night.driver.send(TrainingEnded(START_S, "finished", "", 1, {MAP: 0.5}))) == []
    night.exits()
    [alert] = raised(night.driver.feed(RunEnded("night", RunOutcome.FINISHED, "")))
    assert alert.kind is AlertKind.FINISHED
    assert f"{MAP} 0.5" in alert.text
    assert "5 batches, 0 of them not finite" in alert.text


def test_a_training_without_a_supervisor_says_that_it_finished_when_it_does() -> None:
    night = Night("alerts: {finished: true}", supervisor=0)
    night.trains(5)
    [alert] = raised(night.driver.send(TrainingEnded(START_S, "finished", "", 1, {})))
    assert alert.kind is AlertKind.FINISHED


def incident_night(policy: str = "") -> tuple[Night, list[RaiseAlert]]:
    night = Night(policy)
    return night, night.trains(20, bad=3)


def test_an_open_incident_is_reminded_of_until_somebody_acknowledges_it() -> None:
    night, _ = incident_night("alerts: {repeat_interval_h: 2}")
    run, policy = night.driver.state, night.policy
    incident = run.training.incident
    assert incident is not None
    assert list(due(run, policy, incident.opened_s + 7199)) == []
    [first] = due(run, policy, incident.opened_s + 7200)
    [second] = due(run, policy, incident.opened_s + 4 * 3600)
    assert [first.id, second.id] == ["night-i1/reminder/1", "night-i1/reminder/2"]
    assert "trainwarden ack night-i1" in first.text
    night.driver.feed(IncidentAcknowledged("night", "night-i1", "ana"))
    assert list(due(run, policy, incident.opened_s + 4 * 3600)) == []
    assert incident.timeline[-1].text == "ana acknowledged incident 1"


def test_the_summary_of_the_day_is_due_from_its_minute_on_and_has_one_id_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    night = Night("daily_summary: '14:30'")
    night.trains(5)
    run = night.driver.state
    assert list(due(run, night.policy, START_S + 2.4 * 3600)) == []
    [today] = due(run, night.policy, START_S + 2.6 * 3600)
    [tomorrow] = due(run, night.policy, START_S + 26.6 * 3600)
    assert [today.id, tomorrow.id] == ["night/daily_summary/2025-11-18", "night/daily_summary/2025-11-19"]
    assert "epoch 1" in today.title


def test_every_alert_of_an_incident_is_in_its_thread_and_begins_with_its_summary() -> None:
    night, alerts = incident_night()
    found = [alert_of(alert, night.driver.state) for alert in alerts]
    assert found
    for alert in found:
        assert alert.thread == "night-i1"
        assert alert.labels["family"] == "nonfinite"
        assert alert.labels["title"] == "Night of <b>"
        assert alert.text.startswith("What happened: ")
        assert alert.picture.startswith(b"\x89PNG")


def test_an_alert_leads_to_the_page_of_its_incident_where_the_policy_says_how_it_is_reached() -> None:
    night, (opened, *_) = incident_night()
    receivers = Receivers()
    flow = AlertFlow(lambda: night.driver.core.fleet, receivers)
    assert flow.alert_of(opened, night.driver.state).url == ""
    receivers.learn("night", policy_from_text("alerts: {page_url: 'https://box.example.org/'}", "p"))
    assert flow.alert_of(opened, night.driver.state).url == "https://box.example.org/#/run/night/1/incident/1"


def test_the_end_of_a_crash_whose_run_failed_goes_to_programs_and_is_no_second_message_to_people() -> None:
    night, receivers = Night(), Receivers()
    flow = AlertFlow(lambda: night.driver.core.fleet, receivers)
    policy = (
        "receivers: [{name: phone, kind: ntfy, topic: t}, {name: ops, kind: webhook, url: 'https://example.org/a'}]"
    )
    receivers.learn("night", policy_from_text(policy, "p"))
    closed = alert_of(RaiseAlert("a", "night", AlertKind.CLOSED, Severity.WARNING, "", "", "", 0.0), None)
    for family, ended, names in (
        ("crash", "failed", ("ops",)),
        ("crash", "finished", ("phone", "ops")),
        ("nonfinite", "failed", ("phone", "ops")),
    ):
        night.driver.state.ended = ended
        assert flow.names_of(msgspec.structs.replace(closed, labels=closed.labels | {"family": family})) == names


@pytest.mark.parametrize(
    ("switch", "kind", "family"),
    [
        ("nan", AlertKind.INCIDENT_OPENED, "nonfinite"),
        ("stuck", AlertKind.INCIDENT_OPENED, "hang"),
        ("stuck", AlertKind.STACKS, ""),
        ("stuck", AlertKind.WATCH, "hang"),
        ("crashed", AlertKind.RUN_FAILED, ""),
        ("crashed", AlertKind.INCIDENT_OPENED, "crash"),
        ("rolled_back", AlertKind.ROLLED_BACK, ""),
        ("rolled_back", AlertKind.ADJUSTED, ""),
        ("given_up", AlertKind.GIVEN_UP, ""),
    ],
)
def test_each_event_is_switched_by_one_line(switch: str, kind: AlertKind, family: str) -> None:
    night = Night()
    alert = alert_of(RaiseAlert("a", "night", kind, "critical", "", "", "", 0.0), night.driver.state)  # type: ignore[arg-type]
    alert.labels["family"] = family
    assert wanted(alert, Policy().alerts)
    assert not wanted(alert, policy_from_text(f"alerts: {{{switch}: false}}", "p").alerts)


def test_quiet_hours_routes_and_severities_of_a_policy_reach_the_stages() -> None:
    text = (
        "quiet_hours: {start: '22:00', end: '07:30', let_through: warning}\nalerts: {rate_limit_per_hour: 5}\n"
        "receivers: [{name: phone, kind: webhook, url: 'https://example.org/a', severity: critical}]\n"
        "routes: [{match: ['run=a*'], receivers: [phone]}]\n"
    )
    rules = rules_of(policy_from_text(text, "p"))
    assert (rules.quiet.start_s, rules.quiet.end_s, rules.quiet.let_through) == (79_200.0, 27_000.0, "warning")
    assert rules.per_hour == 5
    assert rules.least == {"phone": "critical"}
    assert rules.routes[0].match == ("run=a*",)


def test_a_heartbeat_ends_where_the_training_stands_still_or_is_over() -> None:
    night = Night("heartbeat: {patience_s: 100}")
    night.trains(3)
    run, settings = night.driver.state, night.policy.heartbeat
    assert progresses(run, settings, START_S + 99)
    assert not progresses(run, settings, START_S + 101)
    night.exits()
    assert not progresses(run, settings, START_S + 1)


def test_a_silence_is_state_and_outlives_a_restart() -> None:
    night = Night()
    night.driver.feed(SilenceSet("s1", ("run=night",), START_S, START_S + 60, "ana", "new data"))
    night.driver.reload()
    assert night.driver.core.fleet.silences["s1"].comment == "new data"
