"""`trainwarden checkpoints`: which checkpoints may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import daemon_failures
from monitor.cli.names import existing_run
from monitor.cli.show import print_table

if TYPE_CHECKING:
    from monitor.daemon.api.snapshots import CheckpointLine


@click.command(cls=Command, examples=("trainwarden checkpoints night-3f2a",))
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the digest and the path of each copy.")
def checkpoints(run: str, as_json: bool) -> None:
    """List the checkpoints of RUN, oldest first: epoch, verdict and the reason for the verdict.

    You may trust a clean checkpoint: it holds no damage, was saved before every known problem, and healthy batches
    followed it. A suspect one may hold damage that nobody can see in the file. A poisoned one is damaged.
    """
    existing_run(run)
    import msgspec

    with daemon_failures():
        from monitor.client.http import Client, run_path
        from monitor.daemon.api.snapshots import CheckpointLine

        with Client() as client:
            found = client.get(run_path(run, "checkpoints"), list[CheckpointLine])
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    elif not found:
        click.echo(f"{run} has not saved a checkpoint yet.")
    else:
        rows = [[str(line.epoch), _what(line), line.why] for line in found]
        print_table(["epoch", "verdict", "why"], rows)


def _what(line: CheckpointLine) -> str:
    remarks = [remark for remark, holds in (("best", line.is_best), ("copy deleted", line.dropped)) if holds]
    return f"{line.verdict} ({', '.join(remarks)})" if remarks else line.verdict
