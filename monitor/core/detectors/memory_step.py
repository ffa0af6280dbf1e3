"""Reserved GPU memory jumped and stays there."""

from __future__ import annotations

from monitor.core.detectors import MEMORY, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import MemoryStep
from monitor.core.state.view import RunView

MIB = 1024 * 1024


@register("memory_step", Moment.BATCH, needs=MEMORY)
def memory_step(run: RunView, config: MemoryStep) -> Finding | None:
    """Reserved memory lies above its level by `ratio` and `bytes_min` for `batches` batches, dated to the first.

    For people only: it is seldom a fault, but it is where the memory went. Blind in the first 200 batches and to a
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
        "memory_step",
        "memory",
        Severity.INFO,
        since=run.before(memory.over - 1),
        signal="memory_reserved",
        value=memory.held,
        limit=memory.high * config.ratio,
        summary=f"reserved GPU memory went from {memory.high / MIB:.0f} to {memory.held / MIB:.0f} MiB{why}",
    )
