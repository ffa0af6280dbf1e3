"""Less is trained in the same time than before."""

from __future__ import annotations

import math

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches, whole_percent
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import BLOCK_ENDED, TIME
from monitor.core.state.pace import BLOCK, PERIOD, SLOW_EPOCH, WINDOW, Pace, PaceLevel, explained, mean_level
from monitor.core.state.view import RunView

WINDOWS_MIN = WINDOW  # learnt: as many blocks as make two windows that have nothing in common
SLOW_EPOCHS = 2
STEP_TIME_BATCHES = 1024  # a finding of step_time within them is not reported a second time


class ThroughputConfig(DetectorConfig):
    """Less is trained in the same time, over hundreds of batches or over whole epochs."""

    ratio: float = Field(
        1.08,
        gt=1.02,
        description="A window of 256 batches must take this many times longer than any before. Below 8 % healthy runs "
        "vary as well, and the limit is never lower than what the run's own pace varies by.",
    )


@register(
    "throughput", ThroughputConfig, Family.SPEED, Moment.BATCH, at_most=Severity.WARNING, needs=TIME | BLOCK_ENDED
)
def throughput(run: RunView, config: ThroughputConfig) -> Finding | None:
    """A window of 256 batches is slower than every one of the last 4,096 to 8,192 batches by `ratio`, in all its parts.

    It must also exceed what those windows differ by among themselves, and what the batches' work explains (sequence
    length, image size, instances). A slowdown that grows too slowly for that is found by whole epochs: two in a row
    20 % slower than the best. That only informs, because a shared host causes it too. Blind in the first epoch, and for
    the first 900 batches of a generation.
    """
    pace = run.learned.pace
    if pace.slow_epochs == SLOW_EPOCHS and not pace.epoch_blocks:  # an epoch has just ended
        return _of_epochs(run, pace)
    return None if pace.block else _of_windows(run, pace, config)


def _of_windows(run: RunView, pace: Pace, config: ThroughputConfig) -> Finding | None:
    before = pace.slowest
    if before is None or len(pace.window) < WINDOW or pace.learnt < _needed(run) or _found_by_step_time(run):
        return None
    now, ratio = mean_level(pace.window), math.log(config.ratio)
    least = before.log_s + explained(now, before)
    if now.log_s - least < max(ratio, pace.range) or any(part.log_s - least < ratio / 2.0 for part in pace.window):
        return None
    over = f"over {batches(WINDOW * BLOCK)}", "at most"
    return _finding(run, Severity.WARNING, now, before, config.ratio, WINDOW * BLOCK, over)


def _of_epochs(run: RunView, pace: Pace) -> Finding | None:
    now, best = pace.last_epoch, pace.best_epoch
    if now is None or best is None or _found_by_step_time(run):
        return None
    batches = SLOW_EPOCHS * (run.batch.batches_per_epoch if run.batch else 1)
    over = f"over {SLOW_EPOCHS} epochs", "in the best one"
    return _finding(run, Severity.INFO, now, best, math.exp(SLOW_EPOCH), batches, over)


def _finding(
    run: RunView,
    severity: Severity,
    now: PaceLevel,
    before: PaceLevel,
    ratio: float,
    since: int,
    texts: tuple[str, str],
) -> Finding:
    took, took_before = math.exp(now.log_s), math.exp(before.log_s)
    share = run.signal("wait_share")
    waits = (
        f"; {whole_percent(math.exp(share.quantile(0.5)))} of the time it waits for data"
        if share and share.warm
        else ""
    )
    return run.finding(
        severity, since=run.before(since - 1), signal="batch_s", value=took,
        limit=took_before * ratio,
        summary=f"throughput fell by {whole_percent(1.0 - took_before / took)} {texts[0]}: {took:.3g} s a batch, where "
        f"it took {took_before:.3g} s {texts[1]}{waits}",
    )  # fmt: skip


def _needed(run: RunView) -> int:
    """Windows that cover an epoch, within which some part may be slower each time."""
    epoch = run.batch.batches_per_epoch if run.batch else 0
    return max(WINDOWS_MIN, min(epoch // BLOCK + 1, PERIOD))


def _found_by_step_time(run: RunView) -> bool:
    streak = run.training.streaks.get(f"step_time/{run.rank}")
    return (
        streak is not None
        and run.at.generation == streak.generation
        and run.at.count - streak.count < STEP_TIME_BATCHES
    )
