"""The host's memory runs short, or the training's processes take more and more of it."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import duration
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import HostState
from monitor.core.state.projection import batches_left, pace_s
from monitor.core.state.view import RunView

GIB = 1024**3
POINTS_MIN = 120  # half an hour of readings
SOON_S = 3600.0  # in the first epoch caches fill and workers copy pages: only a faster leak counts
LAG = 0.8  # the last point lies at least this far along the line: what saturates falls behind it
STEP_S = 60.0  # a step lasts this long: a validation's workers come and go
HOUR_S = 3600.0


class HostMemoryConfig(DetectorConfig):
    """The host's memory runs short, or the training's processes take more and more of it."""

    free: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="At least this share of the host's memory, from 0 to 1, must stay available. At about none the "
        "kernel ends a process; 5 % leave time to react.",
    )
    step: float = Field(
        0.1,
        gt=0,
        le=1,
        description="A lasting jump of the processes' memory is noted from this share of the host's memory, from 0 to "
        "1. A tenth is more than loader workers that come and go.",
    )
    growth: float = Field(
        0.02,
        gt=0,
        le=1,
        description="Memory of the processes that grows by this share of the host's memory within an hour, from 0 to "
        "1, counts as a leak. Two per cent of 64 GB are 1.3 GB an hour.",
    )
    fit: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="The straight line through the growth must reach this R squared, from 0 to 1. Caches that fill "
        "and workers that restart stay below 0.9.",
    )


@register("host_memory", HostMemoryConfig, Family.MEMORY, Moment.HARDWARE, at_most=Severity.WARNING)
def host_memory(run: RunView, config: HostMemoryConfig) -> Finding | None:
    """It warns of too little memory, and of a leak that would fill the host before the training ends.

    It informs about a slower leak, and about a jump by `step` of the host's memory. Sums count pages that processes
    share once for each of them. Blind to swap, to a leak for its first half hour, and in the first epoch to one that
    leaves hours.
    """
    host = run.hardware.host
    if host is None or host.last.total <= 0:
        return None
    return _short(run, config, host) or _leak(run, config, host) or _step(run, config, host)


def _short(run: RunView, config: HostMemoryConfig, host: HostState) -> Finding | None:
    left = host.last.available / host.last.total
    if left >= config.free:
        return None
    used = host.last.training_rss
    own = f"; the training's processes hold {used / GIB:.3g} GiB" if used is not None else ""
    return run.finding(
        Severity.WARNING, since=run.at, signal="host_available", value=left,
        limit=config.free,
        summary=f"the host is short of memory: {host.last.available / GIB:.3g} GiB of {host.last.total / GIB:.3g} "
        f"are left{own}",
    )  # fmt: skip


def _leak(run: RunView, config: HostMemoryConfig, host: HostState) -> Finding | None:
    line = host.rss
    an_hour = line.slope * HOUR_S
    if line.points < POINTS_MIN or an_hour < config.growth * host.last.total:
        return None
    if line.fit < config.fit or line.ahead < LAG:
        return None
    left_s = host.last.available / line.slope
    if not host.settled and left_s > SOON_S:
        return None
    ends = _left_to_train_s(run)
    severity = Severity.INFO if ends is not None and ends < left_s else Severity.WARNING
    before = "" if ends is None else ", after" if ends < left_s else ", before"
    end = f"{before} the training's end" if before else ""
    return run.finding(
        severity, since=run.at, signal="training_rss", value=an_hour,
        limit=config.growth * host.last.total,
        summary=f"the training's processes grow by {an_hour / GIB:.3g} GiB an hour: the host is out of memory in "
        f"{duration(left_s)}{end}",
    )  # fmt: skip


def _step(run: RunView, config: HostMemoryConfig, host: HostState) -> Finding | None:
    level = host.level
    over = level.held - level.high
    if level.over_s is None or run.now_s - level.over_s < STEP_S or over < config.step * host.last.total:
        return None
    return run.finding(
        Severity.INFO, since=run.at, signal="training_rss", value=level.held,
        limit=level.high + config.step * host.last.total,
        summary=f"the training's processes went from {level.high / GIB:.3g} to {level.held / GIB:.3g} GiB",
    )  # fmt: skip


def _left_to_train_s(run: RunView) -> float | None:
    """Seconds to the training's end at the present pace; None: it is not known."""
    left, pace = batches_left(run.training), pace_s(run.training)
    return None if left is None or pace is None else left * pace
