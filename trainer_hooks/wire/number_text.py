"""A number written as text, for the snapshots of a torch that can't read a plain one back (1.13). Pure."""

from __future__ import annotations

_BEFORE = "\0float:"


def text_of(number: float) -> str:
    """Exactly this number, NaN and infinities too."""
    return f"{_BEFORE}{number.hex()}"


def number_of(text: str) -> float | None:
    """None: the text is none that `text_of` writes. Raises ValueError, OverflowError for one that was changed since."""
    return float.fromhex(text[len(_BEFORE) :]) if text.startswith(_BEFORE) else None
