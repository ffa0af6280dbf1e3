"""Whether a line such as `severity=critical|warning` could ever match an alert. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from monitor.core.model import AlertKind, Family, Severity
from monitor.core.policy.settings import Policy
from monitor.policyfile.messages import nearest

LABELS: dict[str, Iterable[str]] = {  # with the words that each may have; none: any text
    "run": (),
    "title": (),
    "kind": [*AlertKind, "digest"],
    "family": Family,
    "severity": Severity,
    "training": (),
    "incident": (),
}


def matcher_problem(line: str) -> str:
    """Why no alert could match label=pattern, and what to write; empty: one could."""
    label, _, patterns = line.partition("=")
    if label not in LABELS:
        return f"{line!r}: no alert has the label {label!r}; {nearest(label, LABELS)}"
    words = [str(word) for word in LABELS[label]]
    for pattern in patterns.split("|"):
        if words and not any(fnmatchcase(word, pattern) for word in words):
            return f"{line!r}: {label} is never {pattern!r}; {nearest(pattern, words)}"
    return ""


def idle_rules(policy: Policy) -> list[str]:
    """One sentence for each rule of the policy that could never hold."""
    found = [
        f"routes.{number}.match.{index}: {problem}"
        for number, route in enumerate(policy.routes)
        for index, line in enumerate(route.match)
        if (problem := matcher_problem(line))
    ]
    quiet = policy.quiet_hours
    if bool(quiet.start) != bool(quiet.end):
        one, other = ("start", "end") if quiet.start else ("end", "start")
        found.append(f"quiet_hours: {one} without {other} makes no quiet hours; write both, or neither")
    return found
