"""What people get: one alert, and its bytes. Values only."""

from __future__ import annotations

import re

import msgspec

PICTURE_BYTES_MAX = 100_000
ALERT_ID = re.compile(r"[!-~]{1,200}")  # it travels as an HTTP header: printable ASCII, no space


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should know.

    Raises ValueError for an id that can't be sent as a header, and for a picture that is too large.
    """

    id: str  # the same over every retry and restart: receivers recognise a repeat by it
    name: str  # what kind of thing happened: "incident_opened"
    severity: str  # "info", "warning", "critical"
    labels: dict[str, str]  # what it is about; alerts with the same `run` label leave in order
    title: str  # one line
    text: str
    started_s: float  # Unix time
    ended_s: float | None = None  # None: it still holds
    thread: str = ""  # messages with the same one are about the same trouble, an incident's id; empty: it stands alone
    url: str = ""  # where to read more
    picture: bytes = b""  # a PNG of at most PICTURE_BYTES_MAX, for receivers that take one; empty: none

    @property
    def ended_well(self) -> bool:
        """True where the trouble is over and training is healthy, which receivers may show in green."""
        return self.ended_s is not None and self.severity == "info"

    def __post_init__(self) -> None:
        if not ALERT_ID.fullmatch(self.id):
            raise ValueError(
                f"alert id {self.id!r}: 1 to 200 printable ASCII characters without spaces; build it from ids"
            )
        if len(self.picture) > PICTURE_BYTES_MAX:
            raise ValueError(f"alert {self.id!r}: its picture has {len(self.picture)} bytes; draw a smaller one")


class AlertError(Exception):
    """Stored bytes are not an alert."""


def encode(alert: Alert) -> bytes:
    """The alert as JSON, for a store."""
    return msgspec.json.encode(alert)


def decode(data: bytes) -> Alert:
    """The alert `encode` wrote. Raises AlertError for anything else."""
    try:
        return msgspec.json.decode(data, type=Alert)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AlertError(
            f"stored alert of {len(data)} bytes can't be read ({error}): it was written by another version"
        ) from error
