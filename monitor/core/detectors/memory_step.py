"""Reserved GPU memory jumped and stays there."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.occasions import MEMORY, MEMORY_OVER
from monitor.core.state.view import RunView

MIB = 1024 * 1024


class MemoryStepConfig(DetectorConfig):
    """Reserved GPU memory jumped and stays there."""

    ratio: float = Field(
        1.05,
        gt=1.02,
        description="The reserved memory must jump to this many times its level. The allocator's level moves by up to "
        "2 % without a meaning.",
    )
    bytes_min: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="No jump below this many bytes is reported. The allocator grows in pieces below 64 MiB all the "
        "time.",
    )
    batches: int = Field(
        5,
        ge=1,
        le=20,
        description="The memory must stay that high for this many batches. One large batch is not a new level.",
    )


@register(
    "memory_step", MemoryStepConfig, Family.MEMORY, Moment.BATCH, at_most=Severity.INFO, needs=MEMORY | MEMORY_OVER
)
def memory_step(run: RunView, config: MemoryStepConfig) -> Finding | None:
    """Reserved memory lies above its level by `ratio` and `bytes_min` for `batches` batches, dated to the first.

    It is seldom a fault, but it shows where the memory went. Blind in the first 200 batches and to a
    slow rise (see memory_leak).
    """
    memory = run.learned.memory
    if memory.over < config.batches or memory.held < memory.high * config.ratio:
        return None
    if memory.held - memory.high < config.bytes_min:
        return None
    most = run.batch.instances_max if run.batch else None
    why = f"; the most instances of one image in this batch: {most}" if most is not None else ""
    return run.finding(
        Severity.INFO,
        since=run.before(memory.over - 1),
        signal="memory_reserved",
        value=memory.held,
        limit=memory.high * config.ratio,
        summary=f"reserved GPU memory went from {memory.high / MIB:.0f} to {memory.held / MIB:.0f} MiB{why}",
    )
