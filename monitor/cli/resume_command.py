"""`trainwarden resume`: starts a run that ended or died again, from its newest clean state."""

from __future__ import annotations

import time

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure
from monitor.cli.names import existing_run, known_runs, operator
from monitor.client.port import DEFAULT_PORT

NAMED_MAX = 5


@click.command(
    cls=Command,
    examples=("trainwarden resume", "trainwarden resume night-3f2a", "trainwarden resume --anew night-3f2a"),
)
@click.argument("run", required=False)
@click.option(
    "--anew", is_flag=True, help="Where the run has no clean state, start its command from the beginning instead."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of /metrics, if the daemon must be started. 0: any free port.",
)
def resume(run: str | None, *, anew: bool, port: int) -> int:
    """Start a run again from its newest clean state, after a reboot, a crash or a stop.

    Command, folder and environment are those that the run was started with. Variables that look like secrets were not
    recorded and are taken from your shell. Without RUN: the one run that died or failed.
    """
    from monitor.supervisor.supervise import RunOptions
    from monitor.supervisor.supervise import run as supervise

    name = run if run is not None else _only_one()
    existing_run(name)
    return supervise(RunOptions(argv=(), policy_text="", run=name, resume_by=operator(), anew=anew, port=port))


def _only_one() -> str:
    """The run that died or failed. Raises Failure where there is none, or where a person has to choose."""
    from monitor.supervisor.resumable import resumable

    found = [name for name in reversed(known_runs()) if resumable(name, time.time())]
    if not found:
        raise Failure(
            "resume: no run died or failed. To resume one that you stopped, name it: trainwarden resume RUN", EXIT_USAGE
        )
    if len(found) > 1:
        more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        raise Failure(
            f"resume: {len(found)} runs died or failed, the newest first: {', '.join(found[:NAMED_MAX])}{more}. "
            "Name the one to resume",
            EXIT_USAGE,
        )
    return found[0]
