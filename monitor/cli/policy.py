"""`trainwarden policy`: check, show and list policies, and describe them to an editor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.command import Command, Group
from monitor.cli.failure import Failure, nearest
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
    """Check, show and list policies: the YAML files that say what is watched and what may be done."""


@policy.command(cls=Command, examples=("trainwarden policy check policy.yaml",))
@click.argument("file")
def check(file: str) -> None:
    """Check a policy file; every error is listed."""
    read_policy(file)
    click.echo(f"{file}: a sound policy")


@policy.command(cls=Command, examples=("trainwarden policy show strict", "trainwarden policy show --effective p.yaml"))
@click.argument("file", default="default", metavar="[FILE|PRESET]")
@click.option("--effective", is_flag=True, help="Every key with the value that holds, without the comments.")
def show(file: str, effective: bool) -> None:
    """Print a policy: a start for your own."""
    text, meaning = read_policy(file)
    if effective:
        from monitor.policyfile.load import effective_yaml

        text = effective_yaml(meaning)
    click.echo(text, nl=not text.endswith("\n"))


@policy.command(cls=Command, examples=("trainwarden policy presets",))
def presets() -> None:
    """List the policies that come along."""
    from monitor.policyfile.load import PRESETS

    for name in PRESETS:
        click.echo(name)


@policy.command(cls=Command, examples=("trainwarden policy schema > trainwarden-policy.schema.json",))
def schema() -> None:
    """Print the JSON Schema of a policy file: an editor completes and checks with it.

    In VS Code, with the YAML extension, the first line of the policy names it:
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


def _policy_text(name: str) -> str:
    from monitor.policyfile.load import PRESETS, preset

    if name in PRESETS:
        return preset(name)
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = nearest(name, PRESETS) or f"; the presets are {', '.join(PRESETS)}"
        raise Failure(f"policy {name!r}: neither a preset nor a file{hint}", EXIT_CONFIG) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{name}: can't be read as text ({error}); name a YAML file", EXIT_CONFIG) from error
