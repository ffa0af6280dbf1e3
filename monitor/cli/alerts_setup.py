"""Adds a receiver to a policy file: asks, writes secrets into files of their own, and keeps what stands there.

An edge file: asks on the terminal, writes files.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import click
import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from alerts import notifiers
from alerts.notifiers import Registered
from monitor.cli.failure import EXIT_USAGE, Failure, nearest
from monitor.errors import EXIT_CONFIG
from monitor.policyfile.load import PolicyFileError, policy_from_text
from monitor.policyfile.receiver_configs import is_secret
from monitor.policyfile.user_policy import config_folder
from trainer_hooks.wire.runfolder import write_bytes

EMPTY = "version: 1\nalerts:\n  finished: true\n"


def add_receiver(path: Path, kind: str | None, name: str | None) -> str:
    """Ask for what is missing, and write it. Returns the receiver's name. Raises Failure; then nothing is changed."""
    document = _read(path)
    chosen = _kind(kind)
    taken = [str(one.get("name")) for key in ("receivers", "webhooks") for one in document.get(key) or ()]
    name = name or click.prompt("Name", default=_free(chosen.kind, taken))
    if name in taken:
        raise Failure(f"{path}: has a receiver {name!r} already; choose another --name", EXIT_USAGE)
    values = CommentedMap({"name": name, "kind": chosen.kind})
    secrets: dict[Path, str] = {}
    for field in msgspec.structs.fields(chosen.config):
        if field.required:
            _ask(field, name, values, secrets)
    document.setdefault("receivers", CommentedSeq()).append(values)
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
    return name


def _ask(field: Any, name: str, values: CommentedMap, secrets: dict[Path, str]) -> None:
    if not is_secret(field):
        values[field.name] = click.prompt(field.name, type={int: int, float: float, bool: bool}.get(field.type, str))
        return
    file = config_folder() / f"{name}.{field.name}"
    values[f"{field.name}_file"] = str(file.absolute())
    secrets[file] = click.prompt(f"{field.name} (not shown; it is kept in {file})", hide_input=True).strip()


def _kind(given: str | None) -> Registered:
    kinds = notifiers.load_all()
    if given is None:
        for kind, registered in sorted(kinds.items()):
            click.echo(f"  {kind:<14} {' '.join((registered.config.__doc__ or '').split())}")
        given = str(click.prompt("Kind"))
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
