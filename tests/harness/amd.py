"""A stand-in for the folder in which the kernel shows AMD cards: real files, which a test may change or block."""

from __future__ import annotations

import os
from pathlib import Path

FILES = {  # of an RX 5600 XT, as kernel 5.15 shows it
    "vendor": "0x1002",
    "device": "0x731f",
    "unique_id": "3f1a2b4c5d6e7f80",
    "gpu_busy_percent": "97",
    "mem_info_vram_used": str(4_700_000_000),
    "mem_info_vram_total": str(6_425_673_728),
    "power/runtime_status": "active",
}
SENSORS = {
    "temp1_input": "71000",
    "temp1_label": "edge",
    "temp1_crit": "118000",
    "temp2_input": "84000",
    "temp2_label": "junction",
    "temp2_crit": "110000",
    "temp3_input": "78000",
    "temp3_label": "mem",
    "power1_average": "131000000",
    "power1_cap": "160000000",
    "fan1_input": "1780",
    "pwm1": "102",
    "pwm1_max": "255",
}


class AmdCard:
    """The files of one card."""

    def __init__(self, drm: Path, number: int = 0, address: str = "0000:0b:00.0") -> None:
        self.folder = drm.parent / "devices" / address
        self.sensors = self.folder / "hwmon" / f"hwmon{number + 3}"
        for name, text in FILES.items():
            self.write(name, text)
        for name, text in SENSORS.items():
            self.sense(name, text)
        (drm / f"card{number}").mkdir(parents=True)
        (drm / f"card{number}" / "device").symlink_to(self.folder)
        (drm / f"card{number}-DP-1").mkdir()  # a connector

    def write(self, name: str, text: str) -> None:
        _write(self.folder / name, text)

    def sense(self, name: str, text: str) -> None:
        _write(self.sensors / name, text)

    def block(self, name: str = "gpu_busy_percent") -> None:
        """Whoever reads this file from now on waits, as in a driver that hangs."""
        os.mkfifo(self.folder / "fifo")
        (self.folder / "fifo").replace(self.folder / name)

    def answer(self, name: str = "gpu_busy_percent") -> None:
        """It answers again."""
        self.write(name, FILES[name])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text + "\n")
    fresh.replace(path)
