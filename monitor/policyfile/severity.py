"""The highest severity of a detector's findings, in a sentence. Pure."""

from __future__ import annotations

from monitor.core.detectors import Registered
from monitor.core.model import Severity


def severity_sentence(detector: Registered) -> str:
    """What its findings lead to at most, under the default policy and with `act` the other way."""
    if detector.at_most is Severity.INFO:
        return "It informs; it sends no alert and opens no incident."
    if detector.at_most is Severity.WARNING:
        return "It warns; it never opens an incident."
    act = detector.config.model_fields.get("act")
    if act is None:
        return "It opens an incident."
    return f"It {'opens an incident' if act.default else 'warns'}; with act: {_other(act.default)}."


def _other(act: bool) -> str:
    return "false it warns" if act else "true it opens an incident"
