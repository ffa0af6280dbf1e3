"""`trainwarden checkpoints`: which checkpoints may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command
from monitor.cli.failure import daemon_failures
from monitor.cli.names import existing_run
from monitor.cli.show import print_table
from monitor.core.format import plural, saved_cell

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
        heads, rows = table(found)
        print_table(heads, rows)
        click.echo()
        for line in resume_lines(found):
            click.echo(line)


def table(found: list[CheckpointLine]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows; of a run with one training without the column for it."""
    heads, rows = (
        ["epoch", "verdict", "why"],
        [[saved_cell(line.epoch, line.extra_batches), _what(line), line.why] for line in found],
    )
    if len({line.training for line in found}) == 1:
        return heads, rows
    return ["training", *heads], [[str(line.training), *row] for line, row in zip(found, rows, strict=True)]


def resume_lines(found: list[CheckpointLine]) -> list[str]:
    """For each training the newest clean checkpoint with its path, and how to go on from one."""
    from monitor.core.model import Verdict

    several = len({line.training for line in found}) > 1
    lines = []
    for training in sorted({line.training for line in found}):
        clean = [
            one for one in found
            if one.training == training and one.verdict == Verdict.CLEAN and one.path and not one.dropped
            and not one.extra_batches
        ]  # fmt: skip
        of = f" of training {training}" if several else ""
        if not clean:
            lines.append(f"Newest clean checkpoint{of}: none yet.")
            continue
        newest = max(clean, key=lambda one: (one.generation, one.batches))
        where = f"epoch {newest.epoch}, after {plural(newest.batches, 'batch')} of generation {newest.generation}"
        lines.append(f"Newest clean checkpoint{of}: {where}: {newest.path}")
    if any(one.verdict == Verdict.CLEAN and one.path and not one.dropped for one in found):
        lines.append(how_to_resume())
    return lines


def how_to_resume() -> str:
    """In a sentence, for every framework that has its own way."""
    from monitor.core.model.frameworks import frameworks

    ways = "".join(f"; with {one.title}: {one.resume}" for one in frameworks() if one.resume)
    return f"To go on from FILE, load it where your script loads a checkpoint{ways}"


def _what(line: CheckpointLine) -> str:
    remarks = [remark for remark, holds in (("best", line.is_best), ("copy deleted", line.dropped)) if holds]
    return f"{line.verdict} ({', '.join(remarks)})" if remarks else line.verdict
