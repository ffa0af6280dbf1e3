"""Adds a receiver to a policy file: asks, writes secrets into files of their own, and keeps what stands there.

An edge file: asks on the terminal, writes files.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import NamedTuple, get_origin

import click
import msgspec
from msgspec.structs import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from alerts import notifiers
from alerts.address import url_problem
from alerts.notifiers import Registered
from monitor.cli.failure import EXIT_USAGE, Failure, nearest
from monitor.core.policy.alert_settings import NAME_PATTERN
from monitor.errors import EXIT_CONFIG
from monitor.policyfile.load import PolicyFileError, policy_from_text
from monitor.policyfile.receiver_configs import is_secret, meta_of, plain_type
from monitor.policyfile.user_policy import config_folder
from trainer_hooks.wire.document_io import write_bytes

EMPTY = "version: 1\nalerts:\n  finished: true\n"


class Added(NamedTuple):
    """The receiver that was written."""

    name: str
    kind: str


def add_receiver(path: Path, kind: str | None, name: str | None, *, replace: bool = False) -> Added:
    """Ask for what is missing, and write it. Raises Failure; then nothing is changed.

    `replace`: a receiver of that name is written anew.
    """
    document = _read(path)
    chosen = _kind(kind)
    taken = [str(one.get("name")) for key in ("receivers", "webhooks") for one in document.get(key) or ()]
    name = name or click.prompt("Name", default=_free(chosen.kind, taken))
    _check_name(path, name, taken, replace=replace)
    values = CommentedMap({"name": name, "kind": chosen.kind})
    secrets: dict[Path, str] = {}
    for field in msgspec.structs.fields(chosen.config):
        if field.required or (meta_of(field).extra or {}).get("asked"):
            _ask(field, name, values, secrets)
    _put(document, name, values)
    text = _text(document)
    try:
        policy_from_text(text, str(path))
    except PolicyFileError as error:
        raise Failure(str(error), EXIT_CONFIG) from error
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, secret in secrets.items():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes(file, f"{secret}\n".encode())
        write_bytes(path, text.encode())
    except OSError as error:
        raise Failure(
            f"{path}: can't be written ({error.strerror}); name another file with --policy", EXIT_USAGE
        ) from error
    return Added(name, chosen.kind)


def _check_name(path: Path, name: str, taken: list[str], *, replace: bool) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise Failure(f"name {name!r}: write letters, digits, '_' and '-' only, at most 40", EXIT_USAGE)
    if name in taken and not replace:
        remedy = "choose another --name, or write this one anew with --replace"
        raise Failure(f"{path}: has a receiver {name!r} already; {remedy}", EXIT_USAGE)


def _put(document: CommentedMap, name: str, values: CommentedMap) -> None:
    """In the place of the receiver of this name, else at the end."""
    for key in ("receivers", "webhooks"):
        for index, one in enumerate(document.get(key) or ()):
            if one.get("name") == name and key == "receivers":
                document[key][index] = values
                return
            if one.get("name") == name:
                del document[key][index]
                break
    document["receivers"] = document.get("receivers") or CommentedSeq()
    document["receivers"].append(values)


def _ask(field: FieldInfo, name: str, values: CommentedMap, secrets: dict[Path, str]) -> None:
    """One question; what may be left out is left out where nothing is typed."""
    several = get_origin(plain_type(field)) is tuple
    commas = " Write commas between them." if several else ""
    optional = "" if field.required else " Enter alone leaves it out."
    click.echo(f"{meta_of(field).description or ''}{commas}{optional}")
    default = None if field.required else ""
    if is_secret(field):
        file = config_folder() / f"{name}.{field.name}"
        if text := _secret(field.name, f"{field.name} (not shown; it is kept in {file})", default):
            values[f"{field.name}_file"], secrets[file] = str(file.absolute()), text
        return
    typed = click.prompt(field.name, default=default, show_default=False)
    if several:
        values[field.name] = CommentedSeq(filter(None, (part.strip() for part in typed.split(","))))
    elif typed:
        values[field.name] = typed


def _secret(key: str, question: str, default: str | None) -> str:
    """Ask until an address is one."""
    while True:
        text: str = click.prompt(question, hide_input=True, default=default, show_default=False).strip()
        problem = url_problem(text) if key == "url" else ""
        if not problem:
            return text
        click.echo(f"What you typed {problem}.", err=True)


def _kind(given: str | None) -> Registered:
    kinds = notifiers.load_all()
    if given is None:
        for kind, registered in sorted(kinds.items()):
            click.echo(f"  {kind:<14} {' '.join((registered.config.__doc__ or '').split())}")
        given = str(click.prompt("Kind", type=click.Choice(sorted(kinds)), show_choices=False))
    if given not in kinds:
        hint = nearest(given, kinds) or f"; there are {', '.join(sorted(kinds))}"
        raise Failure(f"kind {given!r}: there is no such kind of receiver{hint}", EXIT_USAGE)
    return kinds[given]


def _free(kind: str, taken: list[str]) -> str:
    names = (f"{kind}{number or ''}" for number in range(len(taken) + 1))
    return next(name for name in names if name not in taken)


def _read(path: Path) -> CommentedMap:
    if not os.path.lexists(path):
        return _parsed(EMPTY, path)
    try:
        text = path.read_text(encoding="utf-8")
        policy_from_text(text, str(path))
    except PolicyFileError as error:
        raise Failure(f"{error}\n{path}: repair it first; nothing was changed", EXIT_CONFIG) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: can't be read ({error}); name another file with --policy", EXIT_CONFIG) from error
    return _parsed(text, path)


def _parsed(text: str, path: Path) -> CommentedMap:
    try:
        return YAML(typ="rt").load(text) or CommentedMap({"version": 1})
    except YAMLError as error:
        raise Failure(f"{path}: is not YAML; repair it first", EXIT_CONFIG) from error


def _text(document: CommentedMap) -> str:
    stream = io.StringIO()
    YAML(typ="rt").dump(document, stream)
    return stream.getvalue()
