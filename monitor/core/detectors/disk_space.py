"""A volume that the run writes to is about to fill."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from monitor.core.detectors import DetectorConfig, Moment, register
from monitor.core.model import Family, Finding, Severity
from monitor.core.state.hardware import VolumeState
from monitor.core.state.view import RunView

MIB = 1024 * 1024
HOUR_S = 3600.0
POINTS_MIN = 40  # ten minutes of readings
FIT = 0.9  # R squared of the line: checkpoints written and removed make it jump
LAG = 0.8
CHECKPOINTS_SEEN = 16  # the newest ones: their size is what the next will need


class DiskSpaceConfig(DetectorConfig):
    """A volume that the run writes to is about to fill."""

    checkpoints: PositiveFloat = Field(
        3.0,
        description="The volume must still have room for this many copies of the largest checkpoint so far. Three are "
        "the trainer's own file, the copy in the vault and one more.",
    )
    bytes_min: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="This many bytes must be free on the volume while no checkpoint's size is known. 256 MiB hold the "
        "checkpoint of a small model.",
    )
    hours: PositiveFloat = Field(
        1.0,
        description="A volume is reported that will be full within this many hours at the present pace. One hour is "
        "enough to free some space.",
    )


@register("disk_space", DiskSpaceConfig, Family.DISK, Moment.HARDWARE, at_most=Severity.WARNING)
def disk_space(run: RunView, config: DiskSpaceConfig) -> Finding | None:
    """Less is free than `checkpoints` of the largest one need, or the free space falls to nothing within `hours`.

    Names the volume by what lies on it: the run folder, or the folder the trainer saves to. Blind to quotas that the
    file system does not count as free space, and to inodes.
    """
    need = _need(run, config)
    found = [(volume, why) for volume in run.hardware.volumes.values() if (why := _why(volume, need, config))]
    if not found:
        return None
    volume, why = min(found, key=lambda one: one[0].last.free)
    return run.finding(
        Severity.WARNING, since=run.at, signal=volume.last.name, value=float(volume.last.free),
        limit=need, summary=f"the volume of the {volume.last.name} is about to fill: {why}",
    )  # fmt: skip


def _need(run: RunView, config: DiskSpaceConfig) -> float:
    known = run.training.checkpoints[-CHECKPOINTS_SEEN:]
    largest = max((checkpoint.size for checkpoint in known), default=0)
    return config.checkpoints * largest if largest else float(config.bytes_min)


def _why(volume: VolumeState, need: float, config: DiskSpaceConfig) -> str:
    """In words; empty: it is not about to."""
    free, line = volume.last.free, volume.free
    if free < need:
        return f"{free / MIB:.0f} MiB are free, and the next checkpoints need {need / MIB:.0f}"
    if line.points < POINTS_MIN or line.slope >= 0.0 or line.fit < FIT or line.ahead < LAG:
        return ""
    left_s = free / -line.slope
    if left_s > config.hours * HOUR_S:
        return ""
    return f"{free / MIB:.0f} MiB are free, and at the present pace none in {left_s / 60.0:.0f} min"
