"""A deadline as people write it, as Unix time. Pure but for the local time zone."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from monitor.core.format import minute

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
DEADLINE_MAX_S = 3652.5 * 86_400  # longer than any training; what is further away was mistyped
RULE = 'write "2026-11-27 18:00" (local time), an ISO time with its zone, or +36h (m, h or d)'


def parse_deadline(text: str, now_s: float) -> float:
    """Unix time in seconds. Raises ValueError, with the rule, for what can't be read or lies in the past."""
    found = re.fullmatch(r"\+([0-9]+(?:\.[0-9]+)?)([mhd])", text.strip())
    deadline_s = now_s + float(found[1]) * UNITS[found[2]].total_seconds() if found else _moment_s(text)
    if deadline_s > now_s + DEADLINE_MAX_S:
        raise ValueError(f"{text[:40]!r} is more than ten years away: {RULE}")
    if deadline_s <= now_s:
        raise ValueError(f"{text!r} is in the past (it is {minute(now_s)}): {RULE}")
    return deadline_s


def _moment_s(text: str) -> float:
    from pydantic import TypeAdapter

    try:
        # Not fromisoformat: before Python 3.11 it knows neither "Z" nor "+0100".
        moment = TypeAdapter(datetime).validate_python(text.strip())
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a time: {RULE}") from error
    if ":" not in text:
        raise ValueError(f"{text[:40]!r} has a day but no hour: {RULE}")
    try:
        return moment.timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text[:40]!r} is not a time this computer knows: {RULE}") from error
