"""`trainwarden top`: every run at a glance, in a terminal."""

from __future__ import annotations

import os
import sys

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure


@click.command(cls=Command, examples=("trainwarden top",))
def top() -> None:
    """Show every run at a glance, live. Keys: arrows choose, r report, a acknowledge, s stop, q quit."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        raise Failure("top: needs a terminal; elsewhere use: trainwarden status", EXIT_USAGE)
    try:
        from monitor.cli.top_screen import Top
    except ImportError as error:
        raise Failure("top: needs textual; install it with: pip install 'trainwarden[tui]'", EXIT_USAGE) from error
    Top().run()
