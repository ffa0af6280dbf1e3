"""`trainwarden report`: the report of an incident, from the daemon or, without one, from the run folder."""

from __future__ import annotations

import http

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.cli.names import existing_run
from trainer_hooks.wire.runfolder import RunFolder


@click.command(cls=Command, examples=("trainwarden report night-3f2a", "trainwarden report night-3f2a --incident 2"))
@click.argument("run")
@click.option("--incident", type=click.IntRange(min=1), metavar="N", help="Which one; the latest where it is left out.")
def report(run: str, incident: int | None) -> None:
    """Print what happened to RUN, why, what was done about it and what it cost, as Markdown."""
    folder = existing_run(run)
    click.echo(_from_daemon(run, incident) or _from_folder(folder, run, incident))


def _from_daemon(run: str, incident: int | None) -> str:
    """The report as it is now; empty where no daemon answers, or it knows of no such incident."""
    from monitor.client import Client, DeclinedError, UnreachableError, run_path

    query = {} if incident is None else {"incident": incident}
    with daemon_failures():
        try:
            with Client() as client:
                return client.text(run_path(run, "report"), **query)
        except UnreachableError:
            return ""
        except DeclinedError as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise
            return ""


def _from_folder(folder: RunFolder, run: str, incident: int | None) -> str:
    """The report as the daemon last wrote it. Raises Failure, naming those that exist, where there is none."""
    numbers = sorted(int(path.stem) for path in folder.reports.glob("*.md") if path.stem.isdigit())
    if not numbers:
        raise Failure(f"run {run}: has no incident, so there is no report; see trainwarden status {run}", EXIT_USAGE)
    number = incident or numbers[-1]
    if number not in numbers:
        known = ", ".join(map(str, numbers))
        raise Failure(f"run {run}: has no report of incident {number}; there are those of {known}", EXIT_USAGE)
    return (folder.reports / f"{number}.md").read_text(encoding="utf-8")
