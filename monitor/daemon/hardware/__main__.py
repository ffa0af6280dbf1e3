"""`_trainwarden.py -m monitor.daemon.hardware`: the probe child. One JSON line a period, until its parent is gone."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.daemon.hardware import amd
from monitor.daemon.hardware.reading import ProbeLine, Vendor


def main() -> int:
    """Print until the other end of standard input is closed, which the death of the parent does too."""
    parser = argparse.ArgumentParser(prog="monitor.daemon.hardware", description=main.__doc__)
    parser.add_argument("--period-s", type=float, default=5.0)
    parser.add_argument("--vendor", type=Vendor, default=Vendor.NVIDIA)
    parser.add_argument("--drm", type=Path, default=amd.DRM)
    given = parser.parse_args()
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not a line of ours
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        for line in _lines(given.vendor, given.period_s, given.drm):
            os.write(output, msgspec.json.encode(line) + b"\n")
    except BrokenPipeError:
        return 0
    return 0


def _lines(vendor: Vendor, period_s: float, drm: Path) -> Iterator[ProbeLine]:
    if vendor is Vendor.AMD:
        return amd.lines(period_s, drm)
    from monitor.daemon.hardware import nvml  # noqa: PLC0415 - a machine with AMD cards need not have its library

    return nvml.lines(period_s)


def _leave_with_parent() -> None:
    """In a thread, so that a library that hangs does not outlive the daemon."""
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
