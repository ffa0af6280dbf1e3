"""What the state keeps of host, volumes and GPUs of one run: levels, straight lines and shares of time. O(1). Pure.

Readings come every few seconds at most and are left out while they don't change, so that everything here goes by time
and not by how many there were. Nothing of it is rewound with a rollback: the hardware was not.
"""

from __future__ import annotations

import math

import msgspec

from monitor.core.model import GpuSeen, HardwareSeen, HostSeen, VolumeSeen
from monitor.core.state.line import Line, take_point

LINE_POINTS = 240  # a point's weight falls to 1/e after this many: an hour of one every 15 s
LEVEL_FIRST_S = 600.0  # in which the memory of a training grows to its level: workers start, caches fill
LEVEL_NOISE = 0.02  # of the whole: the level moves by this much without a meaning
LEVEL_OVER_S = 600.0  # after which a step is the new level
SHARE_S = 120.0  # a share of time forgets by 1/e in this long
GAP_S = 120.0  # between two readings at most; what lay in a longer gap is not known
GPUS_MAX = 64
VOLUMES_MAX = 8
SLOWING_BITS = 0x8 | 0x20 | 0x40 | 0x80  # NVML's clocks event reasons: slowdown, two thermal ones, power brake
HOT_MARGIN_CELSIUS = 2  # below the temperature at which the device slows itself down
HOT_CELSIUS = 90  # where it does not report that temperature


class LearntLevel(msgspec.Struct):
    """The highest a value has been, and for how long it lies above that now."""

    began_s: float | None = None
    high: float = 0.0
    over_s: float | None = None  # since when it lies above; None: it does not
    held: float = 0.0  # the lowest since then


class Share(msgspec.Struct):
    """Of the recent time, the share in which something held."""

    value: float = 0.0
    since_s: float | None = None  # the first reading of the present streak; None: it does not hold


class HostState(msgspec.Struct):
    """Memory of the host and of the training's processes, bytes."""

    last: HostSeen
    settled: bool = False  # the first epoch is over: caches are full, and workers have touched all their pages
    rss: Line = msgspec.field(default_factory=Line)
    level: LearntLevel = msgspec.field(default_factory=LearntLevel)


class VolumeState(msgspec.Struct):
    """One file system that the run writes to."""

    last: VolumeSeen
    free: Line = msgspec.field(default_factory=Line)


class GpuState(msgspec.Struct):
    """One device. The `new_` fields are what the last reading has over the one before."""

    last: GpuSeen
    first: GpuSeen
    new_xids: tuple[int, ...] = ()
    new_ecc: int = 0
    new_rows: int = 0
    new_trouble: str = ""
    gone_since_s: float | None = None  # it was there, and its driver does not list it any more
    slow: Share = msgspec.field(default_factory=Share)
    hot: Share = msgspec.field(default_factory=Share)


class HardwareState(msgspec.Struct):
    """Everything last seen, and what was learnt of it."""

    generation: int = 0
    seen_s: float | None = None  # None: nothing was ever seen
    host: HostState | None = None
    volumes: dict[str, VolumeState] = {}
    gpus: dict[int, GpuState] = {}
    nvml: str = ""  # why no GPU can be read
    new_nvml: bool = False  # True: that is news
    driver_hangs: bool = False  # the driver does not answer any more
    new_hang: bool = False  # True: that is news


def fold_hardware(state: HardwareState, seen: HardwareSeen, generation: int, now_s: float) -> None:
    """Take one reading in."""
    if state.generation != generation:  # other processes; the devices and volumes are the same
        state.generation, state.host = generation, None
    gap_s = min(now_s - state.seen_s, GAP_S) if state.seen_s is not None else 0.0
    state.seen_s = now_s
    state.new_nvml, state.nvml = bool(seen.nvml) and seen.nvml != state.nvml, seen.nvml
    state.new_hang, state.driver_hangs = seen.driver_hangs and not state.driver_hangs, seen.driver_hangs
    if seen.host is not None:
        state.host = state.host or HostState(seen.host)
        _take_host(state.host, seen.host, now_s)
    for volume in seen.volumes[:VOLUMES_MAX]:
        known = state.volumes.setdefault(volume.name, VolumeState(volume))
        known.last = volume
        take_point(known.free, now_s, float(volume.free), LINE_POINTS)
    if seen.gpus is not None:
        _take_gpus(state, seen.gpus, now_s, gap_s)
    else:
        for gpu in state.gpus.values():
            _no_news(gpu)


def take_level(level: LearntLevel, value: float, noise: float, now_s: float) -> None:
    """Learn the level, unless the value lies above it by more than `noise`; after LEVEL_OVER_S that is the level."""
    if level.began_s is None:
        level.began_s = now_s
    if now_s - level.began_s <= LEVEL_FIRST_S or value <= level.high + noise:
        level.high, level.over_s = max(level.high, value), None
        return
    level.held = value if level.over_s is None else min(level.held, value)
    level.over_s = now_s if level.over_s is None else level.over_s
    if now_s - level.over_s > LEVEL_OVER_S:
        level.high, level.over_s = level.held, None


def settle_host(state: HardwareState) -> None:
    """The first epoch is over, and its validation, which may have brought workers of its own: learn memory anew."""
    if state.host is not None:
        state.host.settled, state.host.rss, state.host.level = True, Line(), LearntLevel()


def take_share(share: Share, *, holds: bool, gap_s: float, now_s: float) -> None:
    """The share moves towards what holds now, as far as the time since the last reading lets it."""
    share.value += (1.0 - math.exp(-gap_s / SHARE_S)) * (float(holds) - share.value)
    if share.value < 0.01 and not holds:
        share.since_s = None
    elif holds and share.since_s is None:
        share.since_s = now_s


def _take_host(host: HostState, seen: HostSeen, now_s: float) -> None:
    host.last = seen
    if seen.training_rss is not None:
        take_point(host.rss, now_s, float(seen.training_rss), LINE_POINTS)
        take_level(host.level, float(seen.training_rss), LEVEL_NOISE * seen.total, now_s)


def _take_gpus(state: HardwareState, seen: tuple[GpuSeen, ...], now_s: float, gap_s: float) -> None:
    listed = {gpu.index: gpu for gpu in seen[:GPUS_MAX]}
    for index, gpu in listed.items():
        known = state.gpus.get(index)
        if known is None:
            known = state.gpus[index] = GpuState(gpu, gpu)
        _take_gpu(known, gpu, now_s, gap_s)
    for index, known in state.gpus.items():
        if index not in listed:
            _no_news(known)
            known.gone_since_s = now_s if known.gone_since_s is None else known.gone_since_s


def _no_news(gpu: GpuState) -> None:
    gpu.new_xids, gpu.new_ecc, gpu.new_rows, gpu.new_trouble = (), 0, 0, ""


def _take_gpu(known: GpuState, gpu: GpuSeen, now_s: float, gap_s: float) -> None:
    before, counted = known.last, dict(known.last.xids)
    known.new_xids = tuple(number for number, times in gpu.xids if times > counted.get(number, 0))
    known.new_ecc = _more(gpu.ecc_uncorrected, before.ecc_uncorrected)
    known.new_rows = _more(gpu.rows_uncorrectable, before.rows_uncorrectable)
    known.new_trouble = gpu.trouble if gpu.trouble != before.trouble else ""
    known.gone_since_s = None
    known.last = _with_counts(gpu, before)
    take_share(known.slow, holds=bool((gpu.throttle_bits or 0) & SLOWING_BITS), gap_s=gap_s, now_s=now_s)
    take_share(known.hot, holds=_is_hot(gpu), gap_s=gap_s, now_s=now_s)


def _more(now: int | None, before: int | None) -> int:
    return max(now - before, 0) if now is not None and before is not None else 0


def _with_counts(gpu: GpuSeen, before: GpuSeen) -> GpuSeen:
    """Where a reading has no count, keep the last one: a rise is found when it can be read again."""
    ecc = gpu.ecc_uncorrected if gpu.ecc_uncorrected is not None else before.ecc_uncorrected
    rows = gpu.rows_uncorrectable if gpu.rows_uncorrectable is not None else before.rows_uncorrectable
    total = gpu.memory_total if gpu.memory_total is not None else before.memory_total
    return msgspec.structs.replace(gpu, ecc_uncorrected=ecc, rows_uncorrectable=rows, memory_total=total)


def _is_hot(gpu: GpuSeen) -> bool:
    if gpu.temperature_celsius is None:
        return False
    limit = HOT_CELSIUS if gpu.slowdown_celsius is None else gpu.slowdown_celsius - HOT_MARGIN_CELSIUS
    return gpu.temperature_celsius >= limit


def capacity_bytes(state: HardwareState) -> int | None:
    """Memory of the smallest of the run's devices; None: no device reports it."""
    return min((gpu.last.memory_total for gpu in state.gpus.values() if gpu.last.memory_total), default=None)
