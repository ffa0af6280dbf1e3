"""The allocator holds back much more GPU memory than any batch needs at once."""

from __future__ import annotations

from monitor.core.detectors import MEMORY, Moment, register
from monitor.core.model import Finding, Severity
from monitor.core.policy.settings import GpuFragmentation
from monitor.core.state.hardware import capacity_bytes
from monitor.core.state.view import RunView

MIB = 1024 * 1024
STRIDE = 64  # batches between two looks
BATCHES_MIN = 512  # the peak is that of a few hundred batches at least


@register("gpu_fragmentation", Moment.BATCH, needs=MEMORY)
def gpu_fragmentation(run: RunView, config: GpuFragmentation) -> Finding | None:
    """Of the reserved memory at least `share` was never allocated at once, while `near` of the device is reserved.

    Told where a batch a little larger would be out of memory though much is unused. Silent while the device's size is
    not known (it comes from NVML), and while there is room.
    """
    allocator = run.learned.allocator
    if allocator.seen < BATCHES_MIN or allocator.seen % STRIDE or allocator.gap < config.share:
        return None
    capacity = capacity_bytes(run.hardware)
    if capacity is None or allocator.reserved < config.near * capacity:
        return None
    unused = (allocator.reserved - allocator.peak) / MIB
    return run.finding(
        "gpu_fragmentation", "memory", Severity.WARNING, since=run.at, signal="memory_reserved", value=allocator.gap,
        limit=config.share,
        summary=f"GPU memory is fragmented: {allocator.reserved / MIB:.0f} MiB are reserved of {capacity / MIB:.0f}, "
        f"and {unused:.0f} of them were never in use at once (PyTorch's expandable_segments:True avoids that)",
    )  # fmt: skip
