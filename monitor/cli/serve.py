"""`trainwarden serve`: the daemon in the foreground."""

from __future__ import annotations

import click

from monitor.cli.command import Command
from monitor.client.port import DEFAULT_PORT


@click.command(
    cls=Command,
    examples=(
        "trainwarden serve",
        "trainwarden serve --port 9500",
    ),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of /metrics and of the API. 0: any free port.",
)
def serve(port: int) -> int:
    """Run the daemon in the foreground until Ctrl-C.

    Each user has one daemon on a host. `trainwarden run` starts it by itself, so you rarely need this command.
    """
    from monitor.daemon.main import DaemonOptions, main

    return main(DaemonOptions(port=port))
