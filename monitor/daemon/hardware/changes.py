"""What of a reading the core gets, and when: it is journaled, so that rates and digits are bounded. Pure.

A reading of one GPU is about 150 bytes in the journal: at most 36 kB an hour and run, and a quarter of that at rest.
"""

from __future__ import annotations

import msgspec

from monitor.core.model import GpuSeen, HardwareSeen, HostSeen, VolumeSeen
from monitor.daemon.hardware.reading import Gpu, HostMemory, RunHardware

DIGITS_BITS = 10  # of a number of bytes: one in a thousand is enough to see a slope


class ChangeFilter:
    """Remembers which reading of each run the core got last.

    `changed_s`: between two readings of a run that differ; `unchanged_s`: and that don't.
    """

    def __init__(self, changed_s: float, unchanged_s: float) -> None:
        self._changed_s, self._unchanged_s = changed_s, unchanged_s
        self._last: dict[str, tuple[float, HardwareSeen]] = {}

    def due(self, seen: HardwareSeen, now_s: float) -> bool:
        """True where it is to be sent now, which is then taken as done. The first time is at once."""
        known = self._last.get(seen.run)
        if known is not None:
            waited_s, changed = now_s - known[0], seen != known[1]
            if waited_s < (self._changed_s if changed else self._unchanged_s) and not _first_gpus(known[1], seen):
                return False
        elif seen == HardwareSeen(seen.run):
            return False
        self._last[seen.run] = now_s, seen
        return True

    def keep(self, runs: set[str]) -> None:
        """Forget every other run."""
        self._last = {run: last for run, last in self._last.items() if run in runs}


def seen_of(
    run: str, reading: RunHardware, volumes: tuple[VolumeSeen, ...], why_down: str, *, driver_hangs: bool = False
) -> HardwareSeen:
    """The reading as the core takes it. `why_down`: why no GPU can be read; of no meaning to a run that uses none."""
    gpus: tuple[GpuSeen, ...] | None = None
    if reading.driver_up and reading.host is not None:  # which devices are the run's own is read with the host's memory
        gpus = tuple(_gpu(gpu) for gpu in reading.gpus if gpu.listed)
    rounded = tuple(msgspec.structs.replace(volume, free=_rounded(volume.free)) for volume in volumes)
    why = why_down if reading.driver_up is False else ""
    return HardwareSeen(
        run, _host(reading.host) if reading.host else None, rounded, gpus, why, driver_hangs=bool(why) and driver_hangs
    )


def _first_gpus(before: HardwareSeen, now: HardwareSeen) -> bool:
    """What the devices counted before the first reading is old: the first reading must not wait and take it in."""
    return bool(now.gpus) and not before.gpus


def _host(memory: HostMemory) -> HostSeen:
    rss = None if memory.training_rss is None else _rounded(memory.training_rss)
    return HostSeen(_rounded(memory.available), memory.total, rss)


def _gpu(gpu: Gpu) -> GpuSeen:
    device = gpu.device
    return GpuSeen(
        device.index,
        memory_total=device.memory_total_bytes,
        temperature_celsius=device.temperature_celsius,
        slowdown_celsius=device.slowdown_celsius,
        power_limit_milliwatts=device.power_limit_milliwatts,
        throttle_bits=device.throttle_bits,
        ecc_uncorrected=device.ecc_uncorrected,
        rows_uncorrectable=device.rows_uncorrectable,
        rows_failed=bool(device.rows_failed),
        xids=tuple(sorted(gpu.xids.items())),
        trouble=device.trouble,
    )


def _rounded(count: int) -> int:
    """To DIGITS_BITS significant bits, downwards."""
    drop = max(count.bit_length() - DIGITS_BITS, 0)
    return count >> drop << drop
