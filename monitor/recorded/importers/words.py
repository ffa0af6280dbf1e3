"""How logs write numbers: NaN and infinity as C, Windows, Java, JavaScript and Python spell them. Pure."""

from __future__ import annotations

import math
import re

NOT_FINITE = r"1\.?#(?:QNAN|SNAN|IND|INF)\w*|nan(?:\([\w-]*\)|q|s|z)?|inf(?:inity)?|\u221e"
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"
ANY_NUMBER = rf"(?:[-+]?(?:{NOT_FINITE})|{NUMBER})"  # what is not finite first: 1.#QNAN begins like a number
_NOT_FINITE = re.compile(rf"([-+]?)(?:{NOT_FINITE})", re.IGNORECASE)
_TENSOR = re.compile(
    r"(?:tensor|array|DeviceArray|np\.float\d+|float)\(\[*([^\],)]+(?:\(ind\))?)[\],)].*", re.IGNORECASE
)
TEXT_CHARS_MAX = 80  # a longer one is no number


def number_of(text: str) -> float | None:
    """The number that a text says, NaN and infinity included; None: it says none."""
    try:
        return float(text)
    except ValueError:
        return _spelled(text.strip()) if len(text) <= TEXT_CHARS_MAX else None


def _spelled(text: str) -> float | None:
    if found := _NOT_FINITE.fullmatch(text):
        finite_word = "inf" in text.lower() or "\u221e" in text
        return math.copysign(math.inf, -1.0 if found[1] == "-" else 1.0) if finite_word else math.nan
    if found := _TENSOR.fullmatch(text):
        return number_of(found[1])
    if text.endswith("%"):
        return number_of(text[:-1])
    return None
