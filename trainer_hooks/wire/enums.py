"""StrEnum, which the standard library has only from Python 3.11 on."""

from __future__ import annotations

from enum import Enum


class StrEnum(str, Enum):
    """An enum of strings: str() and f-strings give the value, as with the library's own class."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]
