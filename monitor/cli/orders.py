"""`trainwarden stop` and `trainwarden rollback`: what an operator asks of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.cli.names import existing_run, operator
from monitor.core.model import CommandKind

if TYPE_CHECKING:
    from monitor.daemon.api.snapshots import RunSummary


@click.command(cls=Command, examples=("trainwarden stop night-3f2a",))
@click.argument("run")
def stop(run: str) -> None:
    """Stop RUN after its current batch. Its last checkpoint stays, so you can resume the training."""
    _ask(run, CommandKind.STOP)
    click.echo(f"{run}: ordered to stop after its current batch. Follow it with: trainwarden status {run}")


@click.command(cls=Command, examples=("trainwarden rollback night-3f2a",))
@click.argument("run")
def rollback(run: str) -> None:
    """Roll RUN back to its newest clean checkpoint, with the safer settings that its policy asks for."""
    _ask(run, CommandKind.ROLLBACK)
    click.echo(f"{run}: ordered to roll back to its newest clean checkpoint. Follow it with: trainwarden status {run}")


def _ask(run: str, kind: str) -> None:
    existing_run(run)
    with daemon_failures():
        from monitor.client.http import Client, run_path
        from monitor.core.model import CommandGiven, CommandKind
        from monitor.daemon.api.snapshots import RunDetail

        with Client() as client:
            _check_it_can(client.get(run_path(run), RunDetail).summary, kind)
            client.post(run_path(run, "inputs"), CommandGiven(run, CommandKind(kind), operator()))


def _check_it_can(run: RunSummary, kind: str) -> None:
    """Raises Failure where the order would come to nothing."""
    if not run.live:
        raise Failure(f"run {run.run}: this run has ended ({run.state}); there is nothing to {kind}", EXIT_USAGE)
    if kind is CommandKind.ROLLBACK and not run.supervised:
        remedy = f"take it over first: trainwarden run --adopt {run.run}"
        raise Failure(f"run {run.run}: its supervisor has died, so nothing could start it again; {remedy}", EXIT_USAGE)
