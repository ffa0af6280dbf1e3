"""The lines every report begins with: the summary that status, terminal and alerts begin with too. Pure."""

from __future__ import annotations

from monitor.core.summary import Summary
from monitor.report.text import safe

SENTENCE_CHARS_MAX = 600


def top_lines(summary: Summary) -> list[str]:
    """Eight lines at most, each a question and its answer."""
    return [f"- **{label}:** {safe(text, SENTENCE_CHARS_MAX)}" for label, text in summary.labelled()]
