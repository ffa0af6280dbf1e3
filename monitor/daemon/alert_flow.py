"""From what the core raises to what a receiver gets: the alert's labels, who gets it, and what may leave now.

Reads the fleet and the policies; decides by alerts.rules and alerts.stages alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import quote

import msgspec

from alerts import notifiers
from alerts.alert import Alert
from alerts.outbox import OutboxRow
from alerts.rules import QuietHours, Route, Rules, Silence
from alerts.stages import FOR_PROGRAMS, STAGES, Held, Memory, Passage, Sending, Stopped, pipeline
from monitor.core.model import AlertKind, Family, Incident, RaiseAlert
from monitor.core.policy.alert_settings import Alerts
from monitor.core.policy.settings import Policy
from monitor.core.policy.transaction import shown_name
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.receivers import Receivers
from monitor.report.loss_picture import loss_picture
from trainer_hooks.wire.run_documents import RunOutcome

log = logging.getLogger("trainwarden.daemon")
ENDS = (AlertKind.RESOLVED, AlertKind.CLOSED)  # after these the trouble is over


class AlertFlow:
    """What the pipeline and the deliverer ask about alerts."""

    def __init__(self, fleet: Callable[[], Fleet], receivers: Receivers) -> None:
        self._fleet, self._receivers = fleet, receivers
        self._programs = {kind for kind, registered in notifiers.load_all().items() if registered.each}

    def alert_of(self, effect: RaiseAlert, run: RunState | None) -> Alert:
        """The alert that people get, with a link to its page where the policy says how it is reached."""
        alert, policy = alert_of(effect, run), self._receivers.policy(effect.run)
        if policy is None or policy.alerts.page_url is None:
            return alert
        training, incident = _about(effect, run)
        place = f"/{training.number}/incident/{incident.number}" if training and incident else "/1"
        url = f"{policy.alerts.page_url.rstrip('/')}/#/run/{quote(effect.run, safe='')}{place}"
        return msgspec.structs.replace(alert, url=url)

    def names_of(self, alert: Alert) -> tuple[str, ...]:
        """The receivers of the alert, by the policy of its run."""
        run = alert.labels.get("run", "")
        policy = self._receivers.policy(run)
        if policy is None or not wanted(alert, policy.alerts):
            return ()
        people = {one.name for one in policy.receivers if one.kind not in self._programs}
        left_out = people if _repeats_the_failure(alert, self._fleet().runs.get(run)) and policy.alerts.crashed else ()
        names = tuple(name for name in self._receivers.names(run) if name not in left_out)
        return rules_of(policy).receivers_of(alert, names)

    def judge(
        self, rows: Sequence[OutboxRow], sent: Sequence[Sending], waited: AbstractSet[int], now_s: float
    ) -> Passage:
        """Which rows may leave now, receiver by receiver."""
        going: list[OutboxRow] = []
        held: list[Held] = []
        stopped: list[Stopped] = []
        shared = self._memory({row.lane for row in rows}, now_s) if rows else Memory()
        for name in dict.fromkeys(row.receiver for row in rows):
            own = [row for row in rows if row.receiver == name]
            receiver = self._receivers.of(own[0])
            stages = FOR_PROGRAMS if receiver is not None and receiver.kind in self._programs else STAGES
            memory = msgspec.structs.replace(
                shared, sent=tuple(one for one in sent if one.receiver == name), waited=waited
            )
            passage = pipeline(own, memory, now_s, stages)
            going += passage.going
            held += passage.held
            stopped += passage.stopped
        return Passage(tuple(going), tuple(held), tuple(stopped))

    def _memory(self, runs: set[str], now_s: float) -> Memory:
        """What the stages know of every receiver alike."""
        fleet = self._fleet()
        known = {name: fleet.runs[name] for name in runs if name in fleet.runs}
        incidents = [(name, each) for name, run in known.items() for each in incidents_of(run)]
        policies = {name: policy for name in runs if (policy := self._receivers.policy(name)) is not None}
        return Memory(
            silences=tuple(Silence(s.id, s.match, s.from_s, s.until_s) for s in fleet.silences.values()),
            acknowledged={each.id for _, each in incidents if each.acknowledged_s is not None},
            troubled={(name, each.family) for name, each in incidents if each.live},
            rules={name: rules_of(policy) for name, policy in policies.items()},
            utc_offset_s=float(time.localtime(now_s).tm_gmtoff),
        )


def alert_of(effect: RaiseAlert, run: RunState | None) -> Alert:
    """The alert that people get; an incident's alerts are one thread, named by its id."""
    training, incident = _about(effect, run)
    labels = {"run": effect.run, "kind": str(effect.kind)}
    if incident is not None and training is not None:
        labels |= {"family": incident.family, "training": str(training.number)}
    if effect.family:
        labels["family"] = effect.family
    if effect.incident:
        labels["incident"] = effect.incident
    if run is not None and run.spec.title:
        labels["title"] = shown_name(run)
    return Alert(
        id=effect.id,
        name=str(effect.kind),
        severity=str(effect.severity),
        labels=labels,
        title=effect.title,
        text=effect.text,
        started_s=effect.at_s,
        ended_s=effect.at_s if effect.kind in ENDS else None,
        thread=effect.incident,
        picture=_picture(run, training, incident),
    )


def _picture(run: RunState | None, training: TrainingState | None, incident: Incident | None) -> bytes:
    """The loss around the onset; empty: no incident, or too few batches."""
    if run is None or training is None or incident is None or 0 not in training.ranks:
        return b""
    trace = training.ranks[0].trace
    batches = {batch.counts.batches: batch.loss for batch in (*trace.far, *trace.recent)}
    onset = incident.began
    try:
        return loss_picture(sorted(batches.items()), onset.count if onset.generation == training.generation else None)
    except Exception:
        log.exception("run %s: no picture of the loss could be drawn; a defect, please report it", run.spec.run)
        return b""  # the alert goes without it


def _repeats_the_failure(alert: Alert, run: RunState | None) -> bool:
    """True for the end of a crash whose run has failed: people have just read that. A program needs it, to resolve."""
    crash = alert.name == AlertKind.CLOSED and alert.labels.get("family") == Family.CRASH
    return crash and run is not None and run.ended == RunOutcome.FAILED


def wanted(alert: Alert, switches: Alerts) -> bool:
    """False for an event that the policy switched off."""
    opened = alert.name == AlertKind.INCIDENT_OPENED
    family = alert.labels.get("family", "")
    if opened and family == Family.NONFINITE:
        return switches.nan
    if opened and family == Family.CRASH:
        return switches.crashed
    if alert.name == AlertKind.STACKS or (family == Family.HANG and (opened or alert.name == AlertKind.WATCH)):
        return switches.stuck
    return {
        AlertKind.RUN_FAILED: switches.crashed,
        AlertKind.ROLLED_BACK: switches.rolled_back,
        AlertKind.ADJUSTED: switches.rolled_back,
        AlertKind.GIVEN_UP: switches.given_up,
    }.get(AlertKind(alert.name), True)


def rules_of(policy: Policy) -> Rules:
    """The policy's alert rules as the stages take them."""
    quiet = policy.quiet_hours
    start_s, end_s = _since_midnight_s(quiet.start), _since_midnight_s(quiet.end)
    both = quiet.start is not None and quiet.end is not None
    return Rules(
        quiet=QuietHours(start_s, end_s, str(quiet.let_through)) if both else QuietHours(),
        per_hour=policy.alerts.rate_limit_per_hour,
        routes=tuple(Route(route.match, route.receivers) for route in policy.routes),
        least={receiver.name: str(receiver.severity) for receiver in policy.receivers},
    )


def _since_midnight_s(clock: str | None) -> float:
    hours, _, minutes = (clock or "00:00").partition(":")
    return int(hours) * 3600.0 + int(minutes) * 60.0


def incidents_of(run: RunState) -> list[Incident]:
    """Every incident of a run, of all its trainings."""
    return [incident for training in run.trainings.values() for incident in training.ledger.incidents]


def _about(effect: RaiseAlert, run: RunState | None) -> tuple[TrainingState | None, Incident | None]:
    for training in run.trainings.values() if run is not None and effect.incident else ():
        for incident in training.ledger.incidents:
            if incident.id == effect.incident:
                return training, incident
    return None, None
