"""`trainwarden stop`, `rollback` and `adjust`: what an operator asks of a run."""

from __future__ import annotations

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure, daemon_failures
from monitor.cli.names import existing_run, operator
from monitor.core.model import CommandKind


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


@click.command(cls=Command, examples=("trainwarden adjust night-3f2a",))
@click.argument("run")
def adjust(run: str) -> None:
    """Change the settings of RUN in place to the safer ones of its policy, such as half the learning rate."""
    _ask(run, CommandKind.ADJUST)
    click.echo(f"{run}: ordered to go on with safer settings. Follow it with: trainwarden status {run}")


def _ask(run: str, kind: CommandKind) -> None:
    existing_run(run)
    with daemon_failures():
        from monitor.client.http import Client, run_path
        from monitor.core.model import CommandGiven
        from monitor.daemon.api.run_orders import refusal
        from monitor.daemon.api.snapshots import RunDetail

        with Client() as client:
            detail = client.get(run_path(run), RunDetail)
            if why := refusal(detail.summary, kind, sum(detail.checkpoints.values())):
                raise Failure(why, EXIT_USAGE)
            client.post(run_path(run, "inputs"), CommandGiven(run, kind, operator()))
