"""Which alerts a line like "run=yolo-*" is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from alerts.alert import Alert


def matchable(alert: Alert) -> dict[str, str]:
    """The labels that a pattern can name: those of the alert, and its severity."""
    return {**alert.labels, "severity": alert.severity}


def matches(lines: Iterable[str], labels: Mapping[str, str]) -> bool:
    """True where every line (label=pattern, `*` any text, `a|b` either) fits the labels. No line: True."""
    return all(_fits(line, labels) for line in lines)


def _fits(line: str, labels: Mapping[str, str]) -> bool:
    label, _, patterns = line.partition("=")
    value = labels.get(label, "")
    return any(fnmatchcase(value, pattern) for pattern in patterns.split("|"))
