"""`trainwarden alerts`: set up a receiver, try it, and show what would go where. Sends HTTP in `test` and `setup`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command, Group
from monitor.cli.failure import EXIT_USAGE, Failure, nearest
from monitor.cli.policy import read_policy
from monitor.errors import EXIT_CONFIG

if TYPE_CHECKING:
    from alerts.deliver import Receiver
    from alerts.notifiers import Sent
    from monitor.core.policy.settings import Policy

EXIT_NOT_SENT = 1
POLICY_HELP = "Policy file. Without it: the one that `trainwarden alerts setup` writes."


@click.group(
    cls=Group,
    examples=("trainwarden alerts setup", "trainwarden alerts test phone", "trainwarden alerts show"),
)
def alerts() -> None:
    """Set up, test and show who gets which alert."""


@alerts.command(
    cls=Command, examples=("trainwarden alerts test phone", "trainwarden alerts test ops --policy policy.yaml")
)
@click.argument("receiver")
@click.option("--policy", "file", metavar="FILE", help=POLICY_HELP)
def test(receiver: str, file: str | None) -> int:
    """Send a test message to RECEIVER now, and say what came of it."""
    policy = read_policy(policy_name(file))[1]
    return send_test(receiver, policy)


@alerts.command(cls=Command, examples=("trainwarden alerts show", "trainwarden alerts show --policy policy.yaml"))
@click.option("--policy", "file", metavar="FILE", help=POLICY_HELP)
def show(file: str | None) -> None:
    """Show what would go where: each event, how severe it is, and who gets it."""
    from monitor.cli.alerts_shown import lines_of

    name = policy_name(file)
    for line in lines_of(read_policy(name)[1], name):
        click.echo(line)


@alerts.command(cls=Command, examples=("trainwarden alerts setup", "trainwarden alerts setup --kind ntfy --name phone"))
@click.option("--kind", help="Kind of the receiver. Without it you are asked.")
@click.option("--name", help="A name of your own for it.")
@click.option("--policy", "file", metavar="FILE", help="Policy file to write. Without it: your own, for every run.")
@click.option("--replace", is_flag=True, help="Write a receiver of this name anew.")
@click.option("--no-test", is_flag=True, help="Send no test message.")
def setup(kind: str | None, name: str | None, file: str | None, *, replace: bool, no_test: bool) -> int:
    """Add a receiver: asks what it needs, writes the policy, and sends a test message.

    Secrets are asked for, not taken from the command line, and kept in files that only you can read.
    """
    from monitor.cli.alerts_setup import add_receiver

    path = Path(file) if file else default_policy()
    added = add_receiver(path, kind, name, replace=replace)
    click.echo(f"{path}: receiver {added.name!r} was written")
    code = 0 if no_test else send_test(added.name, read_policy(str(path))[1])
    option = f" --policy {path}" if file else ""
    if code:
        again = f"trainwarden alerts setup{option} --kind {added.kind} --name {added.name} --replace"
        click.echo(f"Until it takes messages, no alert arrives there. To write it anew: {again}", err=True)
        return code
    click.echo(f"Every run that you start like this sends its alerts there: trainwarden run{option} -- python train.py")
    return code


def send_test(name: str, policy: Policy) -> int:
    """Send the test message; 0 where the receiver took it. Raises Failure where there is no such receiver."""
    from alerts.secret import SecretError
    from monitor.policyfile.receiver_configs import receivers_of

    known = policy.receiver_names
    if name not in known:
        there = f"; there are {', '.join(known)}" if known else "; add one: trainwarden alerts setup"
        raise Failure(f"receiver {name!r}: the policy has none of this name{nearest(name, known) or there}", EXIT_USAGE)
    try:
        [receiver] = receivers_of(policy, name)
    except SecretError as error:
        raise Failure(f"receiver {name!r}: {error}", EXIT_CONFIG) from error
    sent = asyncio.run(_try(receiver))
    if sent.reason:
        click.echo(f"{name}: the test message was not taken: {sent.reason}", err=True)
        return EXIT_NOT_SENT
    click.echo(f"{name}: the test message was taken")
    return 0


async def _try(receiver: Receiver) -> Sent:
    from alerts.alert import Alert
    from alerts.http import Http
    from alerts.notifiers import load_all
    from monitor.core.model import AlertKind, Severity

    now_s = time.time()
    message = Alert(
        id=f"test/{receiver.name}/{int(now_s)}",
        name=str(AlertKind.TEST),
        severity=str(Severity.INFO),
        labels={"run": "test", "kind": str(AlertKind.TEST)},
        title="Test message of trainwarden",
        text="This receiver works. Alerts of your trainings will look like this.",
        started_s=now_s,
        ended_s=now_s,
    )
    async with Http() as http:
        return await load_all()[receiver.kind].notify(message, receiver.config, http, now_s)


def policy_name(file: str | None) -> str:
    """The file that is named, or the user's own. Raises Failure where that one is not there."""
    if file is not None:
        return file
    path = default_policy()
    if not path.exists():
        raise Failure(
            f"{path}: is not there; make it with `trainwarden alerts setup`, or name one with --policy", EXIT_USAGE
        )
    return str(path)


def default_policy() -> Path:
    """The user's own policy."""
    from monitor.policyfile.user_policy import user_policy

    return user_policy()
