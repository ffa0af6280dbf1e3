"""`trainwarden page`: a link that opens the daemon's page in a browser."""

from __future__ import annotations

import datetime

import click

from monitor.cli.command import Command
from monitor.cli.failure import daemon_failures


@click.command(
    cls=Command,
    examples=("trainwarden page", "trainwarden page --view-only --at https://box.example.ts.net"),
)
@click.option("--view-only", is_flag=True, help="Who opens the link can look, and change nothing: for the phone.")
@click.option("--at", default="", metavar="ADDRESS", help="The address under which a proxy of yours serves the port.")
def page(view_only: bool, at: str) -> None:
    """Print a link to the page of the daemon. It works once, for ten minutes; the browser then stays in for a week."""
    with daemon_failures():
        from monitor.client.http import Client
        from monitor.daemon.api.sessions import Link

        with Client() as client:
            link = client.posted("/api/v1/links", Link, {"view_only": view_only, "at": at})
    until = datetime.datetime.fromtimestamp(link.until_s).astimezone()
    click.echo(link.url)
    what = "look, and change nothing" if link.view_only else "look, stop, roll back and silence"
    click.echo(f"Open it once, before {until:%H:%M}. Whoever opens it can {what}.", err=True)
