"""What was read of host and GPUs, and which values are plausible. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from trainer_hooks.wire.enums import StrEnum

DEVICES_MAX = 64  # no host has more; a driver that lists more is refused
XID_MAX = 999
XIDS_KEPT = 32  # different ones of a device, as labels; about 170 are defined
LIMITS = {
    "utilization_percent": (0, 100),
    "memory_used_bytes": (0, 2**44),  # 16 TiB
    "memory_total_bytes": (1, 2**44),
    "temperature_celsius": (0, 130),  # the hardware shuts itself off some way below
    "power_milliwatts": (0, 5_000_000),
    "ecc_corrected": (0, 2**48),
    "ecc_uncorrected": (0, 2**48),
    "rows_correctable": (0, 10_000),  # the hardware has spares for at most 512
    "rows_uncorrectable": (0, 10_000),
    "slowdown_celsius": (40, 150),
    "power_limit_milliwatts": (1, 5_000_000),
    "fan_percent": (0, 200),  # some boards report more than their rated speed
}
# Bits of NVML's clocks event reasons that slow a training; idling and clocks set by somebody are not faults.
THROTTLE_REASONS = {
    "sw_power_cap": 0x4,  # usual at full load
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
}


class Vendor(StrEnum):
    """Whose cards they are: each has its own way to be read."""

    NVIDIA = "nvidia"
    AMD = "amd"

    @property
    def reader(self) -> str:
        """What answers for the card, in a sentence."""
        return "NVML" if self is Vendor.NVIDIA else "the AMD driver"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as its driver reports it. None: it does not report this."""

    index: int  # by PCI bus, as nvidia-smi and rocm-smi count
    uuid: str = ""
    name: str = ""
    utilization_percent: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: int | None = None
    power_milliwatts: int | None = None
    throttle_bits: int | None = None
    ecc_corrected: int | None = None  # over the device's life
    ecc_uncorrected: int | None = None
    rows_correctable: int | None = None
    rows_uncorrectable: int | None = None
    rows_failed: bool | None = None  # True: a row could not be remapped any more
    slowdown_celsius: int | None = None  # the temperature at which it slows itself down
    power_limit_milliwatts: int | None = None  # in force
    fan_percent: int | None = None  # of the highest speed; None: the card has no fan of its own
    xids: tuple[int, ...] = ()  # since the line before
    trouble: str = ""  # the first error that is more than "not supported"


class ProbeLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the probe child."""

    devices: tuple[Device, ...] = ()
    absent: str = ""  # why there is no driver, or no card, on this machine
    error: str = ""  # why the driver can't be used now


class Visible(msgspec.Struct, frozen=True):
    """What one process of a training says of the devices it may use."""

    devices: str | None  # CUDA_VISIBLE_DEVICES; on AMD cards HIP_VISIBLE_DEVICES comes first
    order: str = ""  # CUDA_DEVICE_ORDER
    within: str | None = None  # ROCR_VISIBLE_DEVICES: the devices that `devices` counts

    @classmethod
    def of(cls, environment: Mapping[str, str], vendor: Vendor) -> Visible | None:
        """None: it says nothing, so that all devices are visible."""
        devices = environment.get("CUDA_VISIBLE_DEVICES")
        if vendor is Vendor.NVIDIA:
            return None if devices is None else cls(devices, environment.get("CUDA_DEVICE_ORDER", ""))
        devices, within = environment.get("HIP_VISIBLE_DEVICES", devices), environment.get("ROCR_VISIBLE_DEVICES")
        return None if devices is None and within is None else cls(devices, "", within)


class HostMemory(msgspec.Struct, frozen=True):
    """Bytes. `training_rss` is the sum over the run's processes, each with the pages it shares; None: no process."""

    training_rss: int | None
    available: int
    total: int


class Gpu(msgspec.Struct, frozen=True):
    """A device and what was counted of it since the daemon started."""

    device: Device
    refused: int = 0  # values outside the limits
    xids: dict[int, int] = {}  # times seen, by number
    listed: bool = True  # False: its driver does not list it now


class RunHardware(msgspec.Struct, frozen=True):
    """What there is to show for one run. `driver_up` is None where the run uses no GPU that can be read."""

    host: HostMemory | None = None
    gpus: tuple[Gpu, ...] = ()
    driver_up: bool | None = None
    vendor: Vendor = Vendor.NVIDIA


def checked(device: Device) -> tuple[Device, tuple[str, ...]]:
    """The device without what can't be, and what that was: "temperature_celsius 4294967295"."""
    values = {name: getattr(device, name) for name in LIMITS}
    wrong = [n for n, value in values.items() if value is not None and not LIMITS[n][0] <= value <= LIMITS[n][1]]
    used, total = device.memory_used_bytes, device.memory_total_bytes
    if used is not None and total is not None and used > total and "memory_used_bytes" not in wrong:
        wrong.append("memory_used_bytes")
    xids = tuple(xid for xid in device.xids if 0 < xid <= XID_MAX)
    refused = [f"{name} {values[name]}" for name in wrong]
    refused += [f"xid {xid}" for xid in device.xids if xid not in xids]
    return msgspec.structs.replace(device, xids=xids, **dict.fromkeys(wrong)), tuple(refused)


def chosen(devices: Collection[Device], visible: Iterable[Visible]) -> set[int]:
    """The indexes of those that a training may use: all, where nothing says which."""
    everything = {device.index for device in devices}
    found: set[int] = set()
    limited = False
    for one in visible:
        limited = True
        named = _named(devices, one)
        if named is None:
            return everything
        found |= named
    return found if limited else everything


def _named(devices: Collection[Device], visible: Visible) -> set[int] | None:
    """None: the runtime's own order of unlike devices can't be known. The first that is not there ends the list."""
    ordered = visible.order == "PCI_BUS_ID" or len({device.name for device in devices}) <= 1
    among = {str(device.index): device for device in devices}
    for names in (visible.within, visible.devices):
        if names is None:
            continue
        found: list[Device] = []
        for token in names.split(","):
            name = token.strip()
            if name.startswith("MIG-") or (name.isdecimal() and not ordered):
                return None
            matches = [each for place, each in among.items() if _is(each, place, name)]
            if len(matches) != 1:
                break
            found += matches
        among = {str(place): each for place, each in enumerate(found)}
    return {device.index for device in among.values()}


def _is(device: Device, place: str, name: str) -> bool:
    return name == place or (name.startswith("GPU-") and device.uuid.startswith(name))
