"""A run as a row of `trainwarden top`. Names are texts of rich, in which no markup is read. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from rich.text import Text

from monitor.core.format import duration, name, plural, size, value
from monitor.core.model import ActionKind
from monitor.core.state.status import GIVEN_UP
from monitor.daemon.api.glance import RunGlance
from monitor.daemon.api.snapshots import TrainingLine

COLUMNS = ("run", "state", "epoch", "batch", "NaN", "ends", "loss", "", "memory", "what is wrong")  # cut on the right
MARK = "!"
BARS = "▁▂▃▄▅▆▇█"
POINTS = 16  # of a sparkline
GOOD, BUSY, BAD, OVER = "green", "cyan", "bold red", "dim"
DONE: dict[str, str] = {
    ActionKind.GO_ON: "goes on",
    ActionKind.ADJUST: "change of settings",
    ActionKind.UNDO: "settings put back",
    ActionKind.ROLLBACK: "rollback",
    ActionKind.STOP: "stop",
    ActionKind.WATCH: "no action",
}
ENDED_BADLY = ("failed", GIVEN_UP, "gone", "held", "stopped")
NAME_CHARS, NARROW_NAME_CHARS = 28, 14
NARROW = 100  # columns of a terminal; in a narrower one names are cut to NARROW_NAME_CHARS
TRAININGS_MAX = 8  # rows of one run: a search of settings has hundreds. The newest are shown


class Losses:
    """The newest losses of one run, as they were seen. A batch that is not finite between two looks is seen too."""

    def __init__(self) -> None:
        self.newest: deque[float] = deque(maxlen=POINTS)
        self._batches = 0
        self._nonfinite: int | None = None

    def look(self, run: RunGlance) -> None:
        summary = run.summary
        worse = self._nonfinite is not None and summary.nonfinite > self._nonfinite
        if worse:
            self.newest.append(math.nan)
        elif run.loss is not None and summary.batches != self._batches:
            self.newest.append(run.loss)
        self._batches, self._nonfinite = summary.batches, summary.nonfinite


def row_of(run: RunGlance, losses: Sequence[float], now_s: float, name_chars: int = NAME_CHARS) -> list[Text]:
    """The cells of COLUMNS. `losses`: of this run, as they were seen, the newest last."""
    summary = run.summary
    shown = name(summary.title or summary.run)
    return [
        Text(shown if len(shown) <= name_chars else f"{shown[: name_chars - 1]}…"),
        Text(summary.state, style=_colour(run)),
        Text(_of(summary.epoch, summary.epochs)),
        Text(_of(summary.batch, summary.batches_per_epoch)),
        Text(f"{summary.nonfinite:,}", style=BAD if summary.nonfinite else ""),
        Text(_end(run, now_s), style=BAD if run.deadline_kept is False else ""),
        Text(value(run.loss)),
        Text(sparkline(losses), style=BUSY),
        Text(size(run.reserved)),
        Text(wrong(run), style=BAD if summary.incident else ""),
    ]


def shown_trainings(run: RunGlance) -> tuple[TrainingLine, ...]:
    """Those with a row of their own: none where the run has only one."""
    return run.trainings[-TRAININGS_MAX:] if len(run.trainings) > 1 else ()


def row_of_training(training: TrainingLine) -> list[Text]:
    """The cells of COLUMNS for one of several trainings of a run."""
    bad = training.state in ENDED_BADLY
    incidents = plural(training.incidents, "incident") if training.incidents else ""
    cells = {
        "run": Text(f"  training {training.number}"),
        "state": Text(training.state, style=BAD if bad else OVER),
        "epoch": Text(_of(training.epoch, training.epochs)),
        "batch": Text(f"{training.batches:,} done", style=OVER),
        "NaN": Text(f"{training.nonfinite:,}", style=BAD if training.nonfinite else ""),
        "what is wrong": Text(incidents),
    }
    return [cells.get(column, Text()) for column in COLUMNS]


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
        done = f", {DONE.get(incident.action, incident.action)}" if incident.action else ""
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
    return "-" if done is None else f"{done}/{of}" if of else str(done)


def _end(run: RunGlance, now_s: float) -> str:
    if not run.summary.live:
        return "ended"
    if run.eta_s is None:
        return "-"
    left = f"in {duration(max(run.eta_s - now_s, 0.0))}"
    if run.deadline_s is None:
        return left
    spare_s = run.deadline_s - run.eta_s
    return f"{left}, {duration(abs(spare_s))} {'to spare' if spare_s >= 0 else 'too late'}"
