"""`trainwarden policy`: check, show and list policies, and describe them to an editor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command, Group
from monitor.cli.failure import Failure, nearest, why
from monitor.errors import EXIT_CONFIG

if TYPE_CHECKING:
    from monitor.core.policy.settings import Policy

EXAMPLES = (
    "trainwarden policy show default > policy.yaml",
    "trainwarden policy check policy.yaml",
    "trainwarden run --policy policy.yaml -- python train.py",
)


@click.group(cls=Group, examples=EXAMPLES, no_args_is_help=False)
def policy() -> None:
    """Check, show and list policies. A policy is a YAML file: what trainwarden watches, and what it may do."""


@policy.command(cls=Command, examples=("trainwarden policy check policy.yaml",))
@click.argument("file")
def check(file: str) -> None:
    """Check a policy file and list every error."""
    require_secrets(read_policy(file)[1], file)
    click.echo(f"{file}: this policy is valid")


@policy.command(cls=Command, examples=("trainwarden policy show strict", "trainwarden policy show --effective p.yaml"))
@click.argument("file", default="default", metavar="[FILE|PRESET]")
@click.option("--effective", is_flag=True, help="Print every key with the value in force, without comments.")
def show(file: str, effective: bool) -> None:
    """Print a policy. Use it to begin your own."""
    text, meaning = read_policy(file)
    if effective:
        from monitor.policyfile.load import effective_yaml

        text = effective_yaml(meaning)
    click.echo(text, nl=not text.endswith("\n"))


@policy.command(cls=Command, examples=("trainwarden policy presets",))
def presets() -> None:
    """List the policies that trainwarden brings."""
    from monitor.policyfile.load import PRESETS

    for name in PRESETS:
        click.echo(name)


@policy.command(cls=Command, examples=("trainwarden policy schema > trainwarden-policy.schema.json",))
def schema() -> None:
    """Print the JSON Schema of a policy file, so that an editor can complete and check it.

    In VS Code, with the YAML extension, name the schema in the first line of the policy:
    # yaml-language-server: $schema=trainwarden-policy.schema.json
    """
    from monitor.policyfile.load import schema_text

    click.echo(schema_text())


def read_policy(name: str) -> tuple[str, Policy]:
    """The text and the meaning of the preset or, where none has that name, of the policy file.

    Raises:
        Failure: the file can't be read, holds an error (every one is listed), or nothing has that name.
    """
    from monitor.policyfile.load import PolicyFileError, policy_from_text

    text = _policy_text(name)
    try:
        return text, policy_from_text(text, name)
    except PolicyFileError as error:
        raise Failure(str(error), EXIT_CONFIG) from error


def own_policy() -> str:
    """The user's own policy file where there is one, else the name of the default preset."""
    from monitor.core.model.section import Preset
    from monitor.policyfile.user_policy import user_policy

    path = user_policy()
    return str(path) if path.exists() else str(Preset.DEFAULT)


def require_secrets(policy: Policy, name: str) -> None:
    """Raises Failure where a receiver's secret can't be used: its alerts could not be sent."""
    from monitor.policyfile.matchers import idle_rules
    from monitor.policyfile.receiver_configs import unusable_receivers
    from monitor.policyfile.secret_files import secret_problems

    if problems := secret_problems(policy) + unusable_receivers(policy) + idle_rules(policy):
        raise Failure("\n".join(f"{name}: {problem}" for problem in problems), EXIT_CONFIG)


def _policy_text(name: str) -> str:
    from monitor.policyfile.load import PRESETS, preset

    if name in PRESETS:
        return preset(name)
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = nearest(name, PRESETS) or f"; the presets are {', '.join(PRESETS)}"
        raise Failure(f"policy {name!r}: this is neither a preset nor a file{hint}", EXIT_CONFIG) from error
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        raise Failure(f"{name}: can't be read as text ({why(error)}); name a YAML file", EXIT_CONFIG) from error
