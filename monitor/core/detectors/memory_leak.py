"""GPU memory rises along a straight line."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.format import batches, duration
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import capacity_bytes
from monitor.core.state.line import Line
from monitor.core.state.occasions import MEMORY, MEMORY_64
from monitor.core.state.stats import LINE_POINTS, LINE_STRIDE
from monitor.core.state.view import RunView

MIB = 1024 * 1024
STRIDE = 64  # batches between two looks
POINTS_MIN = 375  # 3,000 batches: a start-up that saturates has bent by then
LAG = 0.8  # the last point lies at least this far along the line: what saturates falls behind it


class MemoryLeakConfig(DetectorConfig):
    """GPU memory rises along a straight line; the time to out-of-memory is given where the device's size is known."""

    fit: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="The straight line through the memory must reach this R squared, from 0 to 1. Memory that only "
        "varies with the batches stays below 0.9.",
    )
    growth: float = Field(
        0.01,
        gt=0,
        description="Memory must grow by this share of its level within about 2,000 batches. One per cent is more "
        "than the allocator's own noise over that time.",
    )
    capacity_bytes: int | None = Field(
        None,
        ge=1,
        description="This is the memory of the GPU in bytes, for devices whose driver does not report it. With "
        "null, and without the driver, no time to out-of-memory is projected.",
    )


@register(
    "memory_leak", MemoryLeakConfig, Family.MEMORY, Moment.BATCH, at_most=Severity.WARNING, needs=MEMORY | MEMORY_64
)
def memory_leak(run: RunView, config: MemoryLeakConfig) -> Finding | None:
    """A line of R squared `fit` through memory rises by `growth` of its level in about 2,000 batches, and goes on.

    It gives the time to out-of-memory where the device's size is known, from the driver or the policy file. Blind for
    3,000 batches.
    """
    memory, line = run.learned.memory, run.learned.memory.line
    if line.points < POINTS_MIN or memory.seen % STRIDE or line.covar <= 0.0:
        return None
    slope = line.slope
    if line.fit < config.fit or slope * LINE_POINTS * LINE_STRIDE < config.growth * line.mean or line.ahead < LAG:
        return None
    pace = f"{1000 * slope / MIB:.3g} MiB every 1,000 batches"
    return run.finding(
        Severity.WARNING,
        since=run.before(line.points * LINE_STRIDE - 1),
        signal="memory",
        value=slope,
        limit=config.growth,
        summary=f"GPU memory grows by {pace}{_left(run, config, line)}",
    )


def _left(run: RunView, config: MemoryLeakConfig, line: Line) -> str:
    measured = capacity_bytes(run.hardware)
    capacity = measured or config.capacity_bytes
    if capacity is None:
        return ""
    left = max(capacity - line.last, 0.0) / line.slope
    took = run.signal("batch_s")
    time = f", {duration(left * took.unscaled(took.level))}" if took and took.warm else ""
    return f": out of memory in {batches(round(left))}{time}"
