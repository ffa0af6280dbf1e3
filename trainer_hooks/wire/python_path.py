"""The PYTHONPATH under which a Python process attaches the hooks by itself. Values only."""

from __future__ import annotations

import os
from pathlib import Path

AUTOATTACH = str(Path(__file__).parents[1] / "autoattach")  # the folder whose sitecustomize attaches


def with_autoattach(python_path: str) -> str:
    """The user's PYTHONPATH with our folder in front; where it is in front already, the same text."""
    users = python_path.removeprefix(AUTOATTACH).removeprefix(os.pathsep)
    return f"{AUTOATTACH}{os.pathsep}{users}" if users else AUTOATTACH
