"""The machine that something was measured on."""

from __future__ import annotations

import os


def loaded() -> str:
    """How many cores there are, and how many processes wanted one over the last minute and the last five."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores at a load of {one:.1f} (5 min: {five:.1f})"
