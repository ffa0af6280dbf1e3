"""Writes what a command was asked to write into a file of the user's."""

from __future__ import annotations

from pathlib import Path

from monitor.cli.failure import EXIT_USAGE, Failure


def write(path: Path, text: str) -> None:
    """Write the file whole. Raises Failure, with the remedy, where it can't be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        remedy = "name a file in a folder that exists"
        raise Failure(f"{path}: can't be written ({error.strerror}); {remedy}", EXIT_USAGE) from error
