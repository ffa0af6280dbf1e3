"""The console script. Puts the installation's folder first, so that a user's own `monitor.py` is not run instead."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line, with this file's folder ahead of PYTHONPATH and of the working folder."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from monitor.cli import main as command_line  # noqa: PLC0415 - only after the path is ours

    command_line()
