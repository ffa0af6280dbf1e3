"""What becomes of the alerts that wait for one receiver: a row of pure stages. Values in, values out.

silence -> inhibit -> deduplicate -> quiet hours -> group -> rate limit. Each stage gets the rows that are left and says
which go on, which wait (and until when), and which are never sent (and why). What goes on is delivered by
alerts/deliver.py: the one place that waits, retries and remembers. Rows that waited together leave as one message
(alerts/digest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from alerts.alert import Alert
from alerts.outbox import EXPIRES_S, OutboxRow
from alerts.rules import Rules, Silence

HOUR_S = 3600.0
GROUP_S = 60.0  # trainings of one run that fail together make one message
CRITICAL = "critical"


class Sending(msgspec.Struct, frozen=True):
    """An alert that a receiver got."""

    receiver: str  # its name
    at_s: float
    severity: str
    run: str
    name: str
    thread: str
    counts: bool = True  # False: it was part of a message that is counted already


def sending_of(receiver: str, run: str, alert: Alert, at_s: float, *, counts: bool = True) -> Sending:
    """What is remembered of an alert that the receiver got."""
    return Sending(receiver, at_s, alert.severity, run, alert.name, alert.thread, counts)


class Memory(msgspec.Struct, frozen=True):
    """What is known of one receiver and of the runs, as far as stages look at it."""

    seen: AbstractSet[str] = frozenset()  # ids of alerts that the receiver got
    sent: tuple[Sending, ...] = ()  # within EXPIRES_S, the oldest first
    waited: AbstractSet[int] = frozenset()  # ids of rows that had to wait: those that may go now leave as one message
    silences: tuple[Silence, ...] = ()  # also those that ended within EXPIRES_S
    acknowledged: AbstractSet[str] = frozenset()  # threads that a person has seen
    troubled: AbstractSet[tuple[str, str]] = frozenset()  # run and family of the incidents that are open
    rules: Mapping[str, Rules] = {}  # by lane
    utc_offset_s: float = 0.0  # of the local clock

    def rules_of(self, row: OutboxRow) -> Rules:
        return self.rules.get(row.lane) or Rules()


class Stopped(msgspec.Struct, frozen=True):
    """A row that is never sent."""

    row: OutboxRow
    reason: str  # one of a stage's closed list, fit for a metric's label


class Held(msgspec.Struct, frozen=True):
    """A row that waits."""

    row: OutboxRow
    until_s: float  # Unix time; it is judged again then
    reason: str


class Passage(msgspec.Struct, frozen=True):
    """The rows that go on, in their order, those that wait, and those that were stopped."""

    going: tuple[OutboxRow, ...]
    held: tuple[Held, ...] = ()
    stopped: tuple[Stopped, ...] = ()


class Stage(Protocol):
    """One step. Pure: the same rows, memory and time give the same passage."""

    def __call__(self, rows: tuple[OutboxRow, ...], memory: Memory, now_s: float, /) -> Passage: ...


def silence(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """Rows that a silence covers wait for its end. What is over by then, or too old, is never sent."""
    ended = {row.alert.thread for row in rows if row.alert.ended_s is not None and row.alert.thread}
    going, held, stopped = [], [], []
    for row in rows:
        until_s = max((s.until_s for s in memory.silences if s.covers(row.alert, now_s)), default=0.0)
        begun_silent = any(s.covers(row.alert, row.created_s) for s in memory.silences)
        needless = begun_silent and row.alert.thread in ended and _nothing_sent(row, rows, memory)
        if needless or until_s - row.created_s > EXPIRES_S:
            stopped.append(Stopped(row, "silenced"))
        elif until_s:
            held.append(Held(row, until_s, "silenced"))
        else:
            going.append(row)
    return Passage(tuple(going), tuple(held), tuple(stopped))


def _nothing_sent(row: OutboxRow, rows: tuple[OutboxRow, ...], memory: Memory) -> bool:
    """True where the receiver got nothing of the row's thread yet: then it need not hear of its end either."""
    return not any(sending.thread == row.alert.thread for sending in memory.sent) and any(
        other.alert.thread == row.alert.thread and other.alert.ended_s is None for other in rows
    )


def inhibit(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """What says nothing new: small news of an incident that a person has seen; warnings beside one of their family.

    Beside one that is open, or one that the same batch opened: that one may be over by now.
    """
    opened = {(row.lane, row.alert.labels.get("family"), row.created_s) for row in rows if row.alert.thread}
    going, stopped = [], []
    for row in rows:
        alert = row.alert
        about = row.lane, alert.labels.get("family")
        minor = alert.severity != CRITICAL and alert.ended_s is None
        if alert.thread in memory.acknowledged and (minor or alert.name == "reminder"):
            stopped.append(Stopped(row, "acknowledged"))
        elif minor and not alert.thread and (about in memory.troubled or (*about, row.created_s) in opened):
            stopped.append(Stopped(row, "inhibited"))
        else:
            going.append(row)
    return Passage(tuple(going), stopped=tuple(stopped))


def deduplicate(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """Each id once: those in memory and repeats within `rows` are stopped as "duplicate"."""
    seen = set(memory.seen)
    going, stopped = [], []
    for row in rows:
        if row.alert.id in seen:
            stopped.append(Stopped(row, "duplicate"))
        else:
            going.append(row)
        seen.add(row.alert.id)
    return Passage(tuple(going), stopped=tuple(stopped))


def quiet_hours(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """In the quiet hours only severe rows go on."""
    left = [memory.rules_of(row).quiet.left_s(row.alert, now_s, memory.utc_offset_s) for row in rows]
    held = [Held(row, now_s + left_s, "quiet hours") for row, left_s in zip(rows, left, strict=True) if left_s]
    return Passage(tuple(row for row, left_s in zip(rows, left, strict=True) if not left_s), tuple(held))


def group(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """The same news of another thread of the run wait a minute for more of their kind: many trainings, one message."""
    going, held = [], []
    last: dict[tuple[str, str], tuple[float, str]] = {}
    for sending in memory.sent:
        last[sending.run, sending.name] = (sending.at_s, sending.thread)
    for row in rows:
        key, thread = (row.lane, row.alert.name), row.alert.thread
        at_s, before = last.get(key, (0.0, thread))
        if thread and before != thread and now_s < at_s + GROUP_S:
            held.append(Held(row, at_s + GROUP_S, "grouped"))
            continue
        going.append(row)
        if row.next_s <= now_s and key not in last:
            last[key] = (now_s, thread)
    return Passage(tuple(going), tuple(held))


def limit_rate(rows: tuple[OutboxRow, ...], memory: Memory, now_s: float) -> Passage:
    """What is over the receiver's limit of an hour waits for the end of it; critical rows are counted apart.

    The rows that waited leave as one message, and count as one.
    """
    going, held = [], []
    lately = [sending for sending in memory.sent if sending.counts and sending.at_s > now_s - HOUR_S]
    times = {severe: [s.at_s for s in lately if (s.severity == CRITICAL) is severe] for severe in (True, False)}
    together: set[bool] = set()  # by whether they are critical: rows that waited, and are counted
    for row in rows:
        severe, limit = row.alert.severity == CRITICAL, memory.rules_of(row).per_hour
        of_its_kind, waited = times[severe], row.id in memory.waited
        if not (waited and severe in together):
            if len(of_its_kind) >= limit:
                held.append(Held(row, of_its_kind[-limit] + HOUR_S, "rate limit"))
                continue
            of_its_kind.append(now_s)
            together |= {severe} if waited else set()
        going.append(row)
    return Passage(tuple(going), tuple(held))


STAGES: tuple[Stage, ...] = (silence, inhibit, deduplicate, quiet_hours, group, limit_rate)
FOR_PROGRAMS: tuple[Stage, ...] = (silence, deduplicate)  # a program gets each alert by itself, at once


def pipeline(rows: Sequence[OutboxRow], memory: Memory, now_s: float, stages: Sequence[Stage] = STAGES) -> Passage:
    """The rows through every stage, in order; stops early when none is left."""
    going = tuple(rows)
    held: list[Held] = []
    stopped: list[Stopped] = []
    for stage in stages:
        if not going:
            break
        passage = stage(going, memory, now_s)
        going = passage.going
        held.extend(passage.held)
        stopped.extend(passage.stopped)
    return Passage(going, tuple(held), tuple(stopped))
