"""`trainwarden run`: reads what was asked for and hands it to the supervisor."""

from __future__ import annotations

import time

import click

from monitor.cli.command import Command
from monitor.cli.deadline_option import parse_deadline
from monitor.cli.failure import EXIT_USAGE, Failure
from monitor.cli.policy import own_policy, read_policy, require_secrets
from monitor.client.port import DEFAULT_PORT


def _deadline(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_deadline(value, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(
    cls=Command,
    examples=(
        "trainwarden run -- python train.py",
        "trainwarden run --deadline +36h -- yolo detect train model=yolov8n.yaml data=data.yaml",
        'trainwarden run --policy strict --title "night of the 17th" -- python train.py',
        "trainwarden run --adopt RUN",
    ),
    context_settings={"allow_interspersed_args": False},
)
@click.option("--run", "run_id", metavar="ID", help="Name of the run. Without it trainwarden makes one.")
@click.option("--title", default="", help="A title of your own, for alerts and reports.")
@click.option(
    "--policy",
    "policy_name",
    metavar="FILE|PRESET",
    help="Policy file or preset. Without it: your own policy (trainwarden alerts setup), else the preset default.",
)
@click.option(
    "--deadline",
    metavar="WHEN",
    callback=_deadline,
    help='When training must be finished: "2026-11-27 18:00", an ISO time, or +36h.',
)
@click.option("--observe", is_flag=True, help="Only watch and alert. Never stop or roll back.")
@click.option("--adopt", metavar="RUN", help="Take over a run whose supervisor died. Give no command with it.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of /metrics, if the daemon must be started. 0: any free port.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(
    *,
    run_id: str | None,
    title: str,
    policy_name: str | None,
    deadline: float | None,
    observe: bool,
    adopt: str | None,
    port: int,
    command: tuple[str, ...],
) -> int:
    """Start a training, watch it, stop it when it goes wrong, roll it back and let it continue.

    The script needs no change. Its output, keys and exit code stay the same.
    """
    _check_command(command, adopt)
    _check_texts(title, *command)
    policy_name = policy_name or own_policy()
    text, policy = read_policy(policy_name)
    if adopt is None:
        require_secrets(policy, policy_name)
    from monitor.supervisor.supervise import RunOptions
    from monitor.supervisor.supervise import run as supervise

    options = RunOptions(
        argv=command,
        title=title,
        run=adopt or run_id,
        policy_text=text,
        act=policy.act and not observe,
        snapshot_s=policy.snapshots.every_s,
        deadline_s=deadline,
        adopt=adopt is not None,
        port=port,
    )
    return supervise(options)


def _check_texts(*texts: str) -> None:
    """The documents of a run are JSON, which can't hold bytes that are not text."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Failure(
                f"run: {text[:80]!r} holds bytes that are not UTF-8. Rename the file, or start it from a script",
                EXIT_USAGE,
            ) from error


def _check_command(command: tuple[str, ...], adopt: str | None) -> None:
    if adopt is None and not command:
        raise Failure(
            "run: the command of the training is missing. Write it last: trainwarden run -- python train.py", EXIT_USAGE
        )
    if adopt is not None and command:
        raise Failure(
            f"run --adopt {adopt}: this takes over a training that runs already. Leave the command out", EXIT_USAGE
        )
