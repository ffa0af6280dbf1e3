"""The allocator holds back much more GPU memory than any batch needs at once."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import capacity_bytes
from monitor.core.state.occasions import MEMORY, MEMORY_64
from monitor.core.state.view import RunView

MIB = 1024 * 1024
STRIDE = 64  # batches between two looks
BATCHES_MIN = 512  # the peak is that of a few hundred batches at least


class GpuFragmentationConfig(DetectorConfig):
    """The allocator holds back much more GPU memory than any batch needs at once."""

    share: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="No batch may ever have needed this share of the reserved memory at once, from 0 to 1. Five to "
        "twenty per cent are usual, so 0.3 is clearly too much.",
    )
    near: float = Field(
        0.8,
        gt=0,
        le=1,
        description="At least this share of the device's memory, from 0 to 1, must be reserved before fragments are "
        "reported. While a fifth of the device is free, fragments cost nothing.",
    )


@register(
    "gpu_fragmentation",
    GpuFragmentationConfig,
    Family.MEMORY,
    Moment.BATCH,
    at_most=Severity.WARNING,
    needs=MEMORY | MEMORY_64,
)
def gpu_fragmentation(run: RunView, config: GpuFragmentationConfig) -> Finding | None:
    """Of the reserved memory at least `share` was never allocated at once, while `near` of the device is reserved.

    A slightly larger batch would then run out of memory although much is unused. Silent while the device's size is
    not known (it comes from the driver), and while there is room.
    """
    allocator = run.learned.allocator
    if allocator.seen < BATCHES_MIN or allocator.seen % STRIDE or allocator.gap < config.share:
        return None
    capacity = capacity_bytes(run.hardware)
    if capacity is None or allocator.reserved < config.near * capacity:
        return None
    unused = (allocator.reserved - allocator.peak) / MIB
    return run.finding(
        Severity.WARNING, since=run.at, signal="memory_reserved", value=allocator.gap,
        limit=config.share,
        summary=f"GPU memory is fragmented: {allocator.reserved / MIB:.0f} MiB are reserved of {capacity / MIB:.0f}, "
        f"and {unused:.0f} of them were never in use at once (PyTorch's expandable_segments:True avoids that)",
    )  # fmt: skip
