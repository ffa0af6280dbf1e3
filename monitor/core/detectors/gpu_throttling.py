"""The device slows itself down, is too hot, or its power limit was lowered."""

from __future__ import annotations

from pydantic import Field

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import GpuState
from monitor.core.state.view import RunView

REASONS = {0x8: "hardware slowdown", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "power brake"}
POWER_SHARE = 0.98  # of the limit it had when the run began: rounding is no lowering


class GpuThrottlingConfig(DetectorConfig):
    """The GPU slows itself down, is too hot, or its power limit was lowered."""

    share: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="The GPU must have been slowed down or too hot for this share of the last minutes, from 0 to 1. "
        "Constant throttling reaches 0.6 after two minutes, so that short peaks give no finding.",
    )


@register("gpu_throttling", GpuThrottlingConfig, Family.GPU, Moment.HARDWARE, at_most=Severity.WARNING)
def gpu_throttling(run: RunView, config: GpuThrottlingConfig) -> Finding | None:
    """For `share` of the last two minutes the clocks were held down for heat or power supply, or it was too hot.

    Silent about the software power cap, which is usual at full load, and about single readings. It informs about
    a power limit that is lower than at the run's start.
    """
    gpus = sorted(run.hardware.gpus.items())
    there = [(index, gpu) for index, gpu in gpus if gpu.gone_since_s is None]
    for index, gpu in there:
        if gpu.slow.value >= config.share or gpu.hot.value >= config.share:
            value = max(gpu.slow.value, gpu.hot.value)
            return _finding(run, Severity.WARNING, index, _why(gpu, config), value, config.share)
    for index, gpu in there:
        limit, first = gpu.last.power_limit_milliwatts, gpu.first.power_limit_milliwatts
        if limit is not None and first is not None and limit < POWER_SHARE * first:
            why = f"its power limit was lowered from {first / 1000:.0f} to {limit / 1000:.0f} W"
            return _finding(run, Severity.INFO, index, why, limit / 1000, first / 1000)
    return None


def _finding(run: RunView, severity: Severity, index: int, why: str, value: float, limit: float) -> Finding:
    return run.finding(
        severity, since=run.at, signal=f"gpu{index}", value=value, limit=limit,
        summary=f"GPU {index}: {why}",
    )  # fmt: skip


def _why(gpu: GpuState, config: GpuThrottlingConfig) -> str:
    bits, celsius = gpu.last.throttle_bits or 0, gpu.last.temperature_celsius
    reasons = ", ".join(name for bit, name in REASONS.items() if bits & bit)
    at = f" at {celsius} degrees Celsius" if celsius is not None else ""
    if gpu.slow.value >= config.share:
        return f"it has been slowing itself down for minutes{at}" + (f" ({reasons})" if reasons else "")
    return f"it has been too hot for minutes{at}"
