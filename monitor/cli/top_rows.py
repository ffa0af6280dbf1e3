"""A run as a row of `trainwarden top`. Names are texts of rich, in which no markup is read. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from monitor.core.format import duration, name, size, value
from monitor.daemon.api.glance import RunGlance

COLUMNS = ("run", "state", "epoch", "batch", "loss", "", "not finite", "memory", "ends", "what is wrong")
MARK = "!"
BARS = "▁▂▃▄▅▆▇█"
POINTS = 16  # of a sparkline
GOOD, BUSY, BAD, OVER = "green", "cyan", "bold red", "dim"
ENDED_BADLY = ("failed", "gone", "held", "stopped")
NAME_CHARS = 28


def row_of(run: RunGlance, losses: Sequence[float], now_s: float) -> list[Text]:
    """The cells of COLUMNS. `losses`: of this run, as they were seen, the newest last."""
    summary = run.summary
    shown = name(summary.title or summary.run)
    return [
        Text(shown if len(shown) <= NAME_CHARS else f"{shown[: NAME_CHARS - 1]}…"),
        Text(summary.state, style=_colour(run)),
        Text(_of(summary.epoch, summary.epochs)),
        Text(_of(summary.batch, summary.batches_per_epoch)),
        Text(value(run.loss)),
        Text(sparkline(losses), style=BUSY),
        Text(f"{summary.nonfinite:,}", style=BAD if summary.nonfinite else ""),
        Text(size(run.reserved)),
        Text(_end(run, now_s), style=BAD if run.deadline_kept is False else ""),
        Text(wrong(run), style=BAD if summary.incident else ""),
    ]


def sparkline(losses: Sequence[float]) -> str:
    """A bar for each of the newest losses; a mark for one that is not finite."""
    newest = list(losses)[-POINTS:]
    finite = [loss for loss in newest if abs(loss) < float("inf")]  # False for NaN as well
    if not finite:
        return MARK * len(newest)
    low, high = min(finite), max(finite)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[int((loss - low) * scale)] if abs(loss) < float("inf") else MARK for loss in newest)


def wrong(run: RunGlance) -> str:
    """What is wrong and what was done; empty: nothing."""
    incident = run.summary.incident
    if incident is not None:
        done = f", {incident.action.replace('_', ' ')}" if incident.action else ""
        seen = f", seen by {name(incident.acknowledged_by)}" if incident.acknowledged_by else ""
        return f"incident {incident.number}: {incident.family}, {incident.state.replace('_', ' ')}{done}{seen}"
    if run.summary.findings:
        first = run.summary.findings[0]
        return f"{first.severity}: {first.detector}"
    return ""


def _colour(run: RunGlance) -> str:
    summary = run.summary
    if summary.incident is not None or summary.state in ENDED_BADLY:
        return BAD
    return GOOD if summary.live else OVER


def _of(done: int | None, of: int | None) -> str:
    return "-" if done is None else str(done) if of is None else f"{done}/{of}"


def _end(run: RunGlance, now_s: float) -> str:
    if not run.summary.live:
        return "ended"
    return "-" if run.eta_s is None else f"in {duration(max(run.eta_s - now_s, 0.0))}"
