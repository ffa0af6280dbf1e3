"""Alerts that time raises, and no event: reminders of open incidents, and the summary of each day. Edge file: a clock.

Each has an id made of what it is about and when, and the outbox knows which ids it had: a restart repeats none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from monitor.core.format import count, duration
from monitor.core.model import AlertKind, Incident, RaiseAlert, Severity
from monitor.core.policy.settings import Policy
from monitor.core.policy.texts import incident_text
from monitor.core.policy.transaction import shown_name
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.core.summary import shown_incident, shown_training, summary_of
from monitor.daemon.receivers import Receivers

LOOK_S = 5.0
HOUR_S = 3600.0


async def run_clock(
    fleet: Callable[[], Fleet], receivers: Receivers, now_s: Callable[[], float], offer: Callable[[RaiseAlert], None]
) -> None:
    """Look every few seconds, until cancelled."""
    last: dict[tuple[str, str, str], str] = {}  # by run, kind and incident: the id that was offered
    while True:
        for run in list(fleet().runs.values()):
            if (policy := receivers.policy(run.spec.run)) is not None and not run.ended:
                for effect in due(run, policy, now_s()):
                    key = (effect.run, effect.kind, effect.incident)
                    if last.get(key) != effect.id:
                        last[key] = effect.id
                        offer(effect)
        await asyncio.sleep(LOOK_S)


def due(run: RunState, policy: Policy, now_s: float) -> Iterator[RaiseAlert]:
    """What is due of a run that has not ended; the same again until the next is due."""
    if policy.alerts.repeat_interval_h is not None:
        for training in run.trainings.values():
            incident = training.incident
            if incident is not None and incident.acknowledged_s is None:
                yield from _reminder(run, training, incident, policy.alerts.repeat_interval_h * HOUR_S, now_s)
    if policy.daily_summary is not None:
        yield from _summary(run, policy.daily_summary, now_s)


def _reminder(
    run: RunState, training: TrainingState, incident: Incident, every_s: float, now_s: float
) -> Iterator[RaiseAlert]:
    number = int((now_s - incident.opened_s) // every_s)
    if number >= 1:
        title = f"{shown_name(run)}: incident {incident.number} is open for {duration(now_s - incident.opened_s)}"
        text = incident_text(run, training, incident, now_s, f"Acknowledge it with: trainwarden ack {incident.id}")
        id_ = f"{incident.id}/{AlertKind.REMINDER}/{number}"
        yield RaiseAlert(
            id_, run.spec.run, AlertKind.REMINDER, incident.severity, incident.id, title, text, now_s
        )  # fmt: skip


def _summary(run: RunState, clock: str, now_s: float) -> Iterator[RaiseAlert]:
    local = time.localtime(now_s)
    opened = time.localtime(run.opened_s)
    today = time.strftime("%Y-%m-%d", local)
    began_after = time.strftime("%Y-%m-%d %H:%M", opened) >= f"{today} {clock}"
    if time.strftime("%H:%M", local) < clock or began_after:
        return
    training = shown_training(run)
    lines = summary_of(run, training, shown_incident(run, training), now_s).lines()
    at = training.position
    epochs = training.started.epochs if training.started is not None else None
    where = f"epoch {at.epoch}{f' of {epochs}' if epochs else ''}, batch {count(at.batch)}" if at else "no batch yet"
    title = f"{shown_name(run)}: {where}"
    id_ = f"{run.spec.run}/{AlertKind.DAILY_SUMMARY}/{today}"
    yield RaiseAlert(
        id_, run.spec.run, AlertKind.DAILY_SUMMARY, Severity.INFO, "", title, "\n".join(lines), now_s
    )  # fmt: skip
