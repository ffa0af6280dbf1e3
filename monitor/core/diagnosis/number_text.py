"""Numbers as a diagnosis writes them into its sentences. Pure."""

from __future__ import annotations

import math

from monitor.core.model import Position

TEXT_MAX = 80  # characters of a foreign name in a sentence


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


def batches(count: int) -> str:
    """1 batch, 2 batches."""
    return f"{count:,} batch{'' if count == 1 else 'es'}"


def where(position: Position) -> str:
    """As people say it: epoch from 1, batch from 0."""
    return f"epoch {position.epoch}, batch {position.batch:,}"


def name(text: str) -> str:
    """A foreign name on one line and cut to size."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…"
