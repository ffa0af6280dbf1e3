"""How numbers, durations and times are written for people, everywhere: report, terminal, alerts, diagnosis. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timezone

NAME_CHARS_MAX = 80  # of a foreign name in a sentence
MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86400.0
GIB = 1 << 30
NO_TIME = "an impossible time"  # a trainer's clock may be anything


def count(number: int) -> str:
    """41,163."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """1 batch, 2 batches."""
    return f"{count(number)} {noun if number == 1 else several(noun)}"


def several(noun: str) -> str:
    """The plural: batches, tries, steps, losses."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("ch", "s")) else f"{noun}s"


def listed(words: list[str]) -> str:
    """loss, gradient and buffer."""
    return " and ".join(text for text in (", ".join(words[:-1]), *words[-1:]) if text)


def batches(number: int) -> str:
    """1 batch, 2 batches."""
    return plural(number, "batch")


def saved_place(epochs: int, extra_batches: int) -> str:
    """Where a state was saved that holds so many whole epochs and batches: the end of epoch 3, batch 120 of epoch 4."""
    return f"batch {count(extra_batches)} of epoch {epochs + 1}" if extra_batches else f"the end of epoch {epochs}"


def saved_cell(epochs: int, extra_batches: int) -> str:
    """The same in a table: 3, or 4, batch 120."""
    return f"{epochs + 1}, batch {count(extra_batches)}" if extra_batches else str(epochs)


def about(number: float) -> str:
    """Two significant digits: a projection promises no more."""
    return f"{float(f'{number:.2g}'):,.0f}"


def percent(share: float) -> str:
    """0.97 %."""
    return f"{100 * share:.2f} %"


def whole_percent(share: float) -> str:
    """32 %: of an estimate."""
    return f"{100 * share:.0f} %"


def rough_percent(share: float) -> str:
    """0.77 %, 43 %, 100 %: two significant digits."""
    return f"{float(f'{100 * share:.2g}'):g} %"


def value(number: float | None) -> str:
    """Four significant digits; a dash: not known."""
    return "-" if number is None else f"{number:.4g}"


def number(value: float) -> str:
    """Three significant digits, without an exponent between a thousandth and a million."""
    if not math.isfinite(value):
        return str(value)
    if value == 0.0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value) or 1.0)))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2e}"


def times(ratio: float) -> str:
    """As a factor: x 12, x 1.3, x 0.25."""
    return f"x {number(ratio)}"


def size(number: int | None) -> str:
    """Bytes as GiB, two decimals: the figures that the trainer's progress bar shows. A dash: not known."""
    return "-" if number is None else f"{number / GIB:.2f} GiB"


def duration(seconds: float) -> str:
    """0.4 s, 58 s, 1 min 5 s, 4 h 53 min, 9.6 days."""
    if seconds < 9.95:
        return "0 s" if seconds == 0 else f"{seconds:.1f} s"
    if round(seconds) < MINUTE_S:
        return f"{seconds:.0f} s"
    if round(seconds) < HOUR_S:
        return "{} min {} s".format(*divmod(round(seconds), 60))
    if seconds < 2 * DAY_S:
        return "{} h {} min".format(*divmod(round(seconds / 60), 60))
    return f"{seconds / DAY_S:.1f} days"


def when(unix_s: float) -> str:
    """2026-11-18 08:00:00 UTC."""
    return _at(unix_s, "%Y-%m-%d %H:%M:%S UTC")


def minute(unix_s: float) -> str:
    """2026-11-18 08:00 UTC."""
    return _at(unix_s, "%Y-%m-%d %H:%M UTC")


def _at(unix_s: float, how: str) -> str:
    try:
        return datetime.fromtimestamp(unix_s, timezone.utc).strftime(how)
    except (ValueError, OverflowError, OSError):
        return NO_TIME


def ago(at_s: float | None, now_s: float) -> str:
    """How long ago, of a Unix time; a dash: not known."""
    return "-" if at_s is None else f"{duration(max(now_s - at_s, 0.0))} ago"


def moment(at_s: float | None, now_s: float) -> str:
    """The time in UTC and how far off it is; a dash: not known."""
    if at_s is None:
        return "-"
    off = f"in {duration(at_s - now_s)}" if at_s >= now_s else f"{duration(now_s - at_s)} ago"
    return f"{minute(at_s)} ({off})"


def batch_at(epoch: int, batch: int) -> str:
    """Where a batch is, as people say it: epoch from 1, batch from 0."""
    return f"epoch {epoch}, batch {count(batch)}"


def name(text: str) -> str:
    """A foreign name on one line and cut to size."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= NAME_CHARS_MAX else line[: NAME_CHARS_MAX - 1] + "…"
