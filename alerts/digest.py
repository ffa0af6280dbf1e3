"""Several alerts as one message: those that waited for the end of quiet hours, of a silence or of a limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from alerts.alert import Alert
from alerts.outbox import OutboxRow
from alerts.rules import SEVERITIES

LINES_MAX = 50  # alerts that a digest names; a storm has thousands
DIGEST = "digest"


class Parcel(msgspec.Struct, frozen=True):
    """One message: the row that carries it, and the rows that are settled with it."""

    row: OutboxRow
    with_it: tuple[OutboxRow, ...] = ()


def parcel_of(row: OutboxRow, waited: Sequence[OutboxRow]) -> Parcel:
    """The row alone or, where others waited as it did, all of them as one message."""
    others = tuple(other for other in waited if other.id != row.id)
    if not others:
        return Parcel(row)
    rows = sorted((row, *others), key=lambda one: one.id)
    return Parcel(msgspec.structs.replace(row, alert=digest_of([one.alert for one in rows])), others)


def digest_of(alerts: Sequence[Alert]) -> Alert:
    """One alert that names them all, the oldest first. Its id is made of the first one's."""
    threads, runs = {alert.thread for alert in alerts}, {alert.labels.get("run", "") for alert in alerts}
    more, over = len(alerts) - LINES_MAX, len(threads) == 1 and alerts[-1].ended_s is not None
    lines = [f"- {alert.title} ({alert.severity})" for alert in alerts[:LINES_MAX]]
    return msgspec.structs.replace(
        alerts[-1],
        id=f"{alerts[0].id[:180]}/{DIGEST}",
        name=DIGEST,
        severity=alerts[-1].severity if over else max((alert.severity for alert in alerts), key=_rank),
        labels={"run": alerts[-1].labels.get("run", ""), "kind": DIGEST} if len(runs) == 1 else {"kind": DIGEST},
        title=f"{len(alerts)} messages that waited",
        text="\n".join([*lines, *([f"and {more} more"] if more > 0 else []), "", "The last one:", alerts[-1].text]),
        started_s=alerts[0].started_s,
        ended_s=alerts[-1].ended_s if len(threads) == 1 else None,
        thread=alerts[-1].thread if len(threads) == 1 else "",
    )


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
