"""Hardware that fails loudly enough to be read. The process of the training may go on for a while, or for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from monitor.core.model import HostSeen, VolumeSeen
from tests.bench.detection.families.throughput import slower
from tests.bench.detection.fault import Before, Change, Fault, graded, unchanged
from tests.bench.detection.kinds import GIB, LANGUAGE, LARGE, YOLO, Kind
from tests.bench.detection.streams import Step
from tests.bench.detection.trainer import Trainer

HARDWARE_SLOWDOWN = 0x8 | 0x40  # NVML's clocks event reasons: slowdown, and thermal
HOST_BYTES = 256 * GIB


def gpu_says(**readings: Any) -> Before:  # fields of GpuSeen
    """From the onset on NVML says this of the device."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since == 0:
            trainer.gpus = tuple(msgspec.structs.replace(gpu, **readings) for gpu in trainer.gpus)
            yield trainer.reading()

    return before


def gone(trainer: Trainer, since: int) -> Iterable[Step]:
    """NVML does not list the device any more."""
    if since == 0:
        trainer.gpus = ()
        yield trainer.reading()


def host_left(share: float) -> Before:
    """So much of the host's memory is available."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since == 0:
            trainer.host = HostSeen(int(share * HOST_BYTES), HOST_BYTES, int((1.0 - share) * HOST_BYTES))
            yield trainer.reading()

    return before


def disk_left(free: int) -> Before:
    """So much is free where checkpoints are saved."""

    def before(trainer: Trainer, since: int) -> Iterable[Step]:
        if since == 0:
            trainer.volumes = (VolumeSeen("save_dir", free, 1024 * GIB),)
            yield trainer.reading()

    return before


def _faults() -> Iterator[Fault]:
    for name, severity, before in (
        ("XID 31, which a program can cause", "low", gpu_says(xids=((31, 1),))),
        ("XID 48, a double bit error", "high", gpu_says(xids=((48, 1),))),
        ("XID 79, the GPU fell off the bus", "high", gpu_says(xids=((79, 1),))),
        ("two uncorrectable ECC errors", "medium", gpu_says(ecc_uncorrected=2)),
        ("a row can't be remapped", "high", gpu_says(rows_failed=True)),
        ("the GPU is gone", "high", gone),
    ):
        yield _fault(name, severity, before)
    hot = gpu_says(throttle_bits=HARDWARE_SLOWDOWN, temperature_celsius=93)
    for severity, share in graded(0.1, 0.3, 1.0):
        yield _fault(f"throttled for heat, batches +{share:.0%}", severity, hot, slower(share), kinds=(LARGE,))
    for severity, share in graded(0.1, 0.03, 0.01):
        yield _fault(f"{share:.0%} of the host's memory left", severity, host_left(share), cause="memory")
    for severity, free in (("medium", GIB), ("high", 50 << 20)):
        yield _fault(f"{free >> 20} MiB of disk left", severity, disk_left(free), cause="checkpoint")


def _fault(
    name: str,
    severity: str,
    before: Before,
    change: Change = unchanged,
    kinds: tuple[Kind, ...] = (YOLO, LANGUAGE),
    cause: str = "",
) -> Fault:
    return Fault("hardware", name, severity, "for ever", change, before, kinds=kinds, cause=cause)


FAULTS = tuple(_faults())
