"""Reads AMD cards from the files of the kernel's driver, amdgpu. An edge file; a read may block: for the probe child.

Counters of resets: amdgpu has none in these files. It says that a card is being reset (every read gives EPERM), and it
keeps a crash dump for some minutes after a reset (kernels from 6.10).
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from pathlib import Path

from monitor.daemon.hardware.reading import DEVICES_MAX, Device, ProbeLine

DRM = Path("/sys/class/drm")
CARD = re.compile(r"card[0-9]+")
FILE_CHARS_MAX = 4096  # the kernel gives one page at most
AMD_VENDOR = "0x1002"
SUSPENDED = "suspended"  # of power/runtime_status: nobody uses the card, and a read could wake it up

_USUAL = (  # what a simpler card, an older driver or a container answers
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS,
)  # fmt: skip


def lines(period_s: float, drm: Path = DRM) -> Iterator[ProbeLine]:
    """A line at once and then every `period_s`, for ever; one and no more where there is no AMD card."""
    while True:
        cards = _cards(drm)
        if not cards:
            yield ProbeLine(absent=f"no AMD card in {drm}")
            return
        yield ProbeLine(devices=tuple(_device(i, card) for i, card in enumerate(cards)))
        time.sleep(period_s)


def _cards(drm: Path) -> list[Path]:
    """Their device folders in the order of their PCI addresses, as the ROCm tools count."""
    try:
        found = [each / "device" for each in drm.iterdir() if CARD.fullmatch(each.name)]
    except OSError:
        return []
    ours = [each.resolve() for each in found if _Files(each).text("vendor") == AMD_VENDOR]
    return sorted(ours, key=lambda each: each.name)[:DEVICES_MAX]


class _Files:
    """Reads the files of one folder; what is not there is None, and the first error that is not usual is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trouble = folder, ""

    def text(self, name: str) -> str | None:
        try:
            with (self.folder / name).open(errors="replace") as file:
                return file.read(FILE_CHARS_MAX).strip()
        except OSError as error:
            if error.errno not in _USUAL:
                more = " (a card that is being reset answers so)" if error.errno == errno.EPERM else ""
                self.trouble = self.trouble or f"{name}: {error.strerror}{more}"
            return None

    def number(self, name: str, unit: int = 1) -> int | None:
        """A whole number, divided by `unit`."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return int(text) // unit
        except ValueError:
            self.trouble = self.trouble or f"{name}: {text[:40]!r} is not a number"
            return None


def _device(index: int, folder: Path) -> Device:
    files = _Files(folder)
    uuid, name = files.text("unique_id"), files.text("product_name") or f"AMD {files.text('device') or 'card'}"
    uuid = f"GPU-{uuid}" if uuid else f"PCI-{folder.name}"
    if files.text("power/runtime_status") == SUSPENDED:
        return Device(index=index, uuid=uuid, name=name)
    sensors = _Files(_sensors(folder))
    sensor = _hottest(sensors)
    errors = _memory_errors(files)
    reset = "the driver has reset the card and keeps its crash dump" if (folder / "devcoredump").exists() else ""
    power = sensors.number("power1_average", 1000)
    if power is None:  # some chips report the present value alone
        power = sensors.number("power1_input", 1000)
    return Device(
        index=index,
        uuid=uuid,
        name=name,
        utilization_percent=files.number("gpu_busy_percent"),
        memory_used_bytes=files.number("mem_info_vram_used"),
        memory_total_bytes=files.number("mem_info_vram_total"),
        temperature_celsius=sensors.number(f"{sensor}_input", 1000),
        slowdown_celsius=sensors.number(f"{sensor}_crit", 1000),
        power_milliwatts=power,
        power_limit_milliwatts=sensors.number("power1_cap", 1000),
        fan_percent=_fan_percent(sensors),
        ecc_corrected=errors.get("ce"),
        ecc_uncorrected=errors.get("ue"),
        trouble=reset or files.trouble or sensors.trouble,
    )


def _sensors(folder: Path) -> Path:
    """The folder of the card's sensors; its number differs from start to start."""
    try:
        return min((folder / "hwmon").iterdir(), key=lambda each: each.name, default=folder / "hwmon")
    except OSError:
        return folder / "hwmon"


def _hottest(sensors: _Files) -> str:
    """The sensor at the hottest spot, whose limit is the one that slows a card down; a simple card has one alone."""
    labels = {f"temp{number}": sensors.text(f"temp{number}_label") for number in (1, 2, 3)}
    return next((sensor for sensor, label in labels.items() if label == "junction"), "temp1")


def _fan_percent(sensors: _Files) -> int | None:
    """None: it has no fan of its own."""
    level, full = sensors.number("pwm1"), sensors.number("pwm1_max")
    return round(100 * level / full) if level is not None and full else None


def _memory_errors(files: _Files) -> dict[str, int]:
    """Of the card's memory since the driver was loaded, "ue" and "ce"; empty for a card that counts none."""
    text = files.text("ras/umc_err_count") or ""
    return {kind: int(count) for kind, count in re.findall(r"\b(ue|ce):\s*(\d{1,15})\b", text)}
