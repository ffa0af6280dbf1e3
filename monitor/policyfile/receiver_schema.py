"""The keys of each kind of receiver, from the configs of the notifiers: for editors and for the documents. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import FieldInfo, fields

from alerts import notifiers
from alerts.secret import Secret
from monitor.policyfile.messages import expected
from monitor.policyfile.receiver_configs import is_secret, keys_of, meta_of

WAYS = {
    "": "",
    "_file": " This key names a file that holds it.",
    "_env": " This key names an environment variable of the daemon that holds it.",
}


def with_kinds(schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a policy, in which each kind of receiver has keys of its own."""
    receiver = schema["$defs"]["ReceiverSettings"]
    kinds = _configs()
    receiver["properties"]["kind"] = {**receiver["properties"]["kind"], "enum": list(kinds)}
    receiver["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"properties": dict(_properties(config)), "description": _sentence(config)},
        }
        for kind, config in kinds.items()
    ]
    return schema


def key_rows() -> Iterator[tuple[str, str, str, str]]:
    """A row for each key of each kind: key, what it takes, default, what it is for."""
    for kind, config in _configs().items():
        for field in fields(config):
            takes = "a secret" if is_secret(field) else _takes(_schema(field))
            default = "required" if field.required else _default(field)
            yield f"`receivers[].{field.name}` ({kind})", takes, default, meta_of(field).description or ""


def _configs() -> dict[str, type]:
    """Of every kind that this package brings."""
    kinds = sorted(notifiers.load_all().items())
    return {kind: one.config for kind, one in kinds if one.notify.__module__.startswith(f"{notifiers.__name__}.")}


def _properties(config: type) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in fields(config):
        for key in keys_of(field):
            text = f"{meta_of(field).description}{WAYS[key.removeprefix(field.name)]}"
            found = {"type": ["string", "array"]} if is_secret(field) else _schema(field)
            yield key, {**found, "description": text}


def _schema(field: FieldInfo) -> dict[str, Any]:
    return msgspec.json.schema(field.type)


def _takes(schema: dict[str, Any]) -> str:
    return "a list" if schema.get("type") == "array" else expected(schema)


def _default(field: FieldInfo) -> str:
    value = field.default.reveal() if isinstance(field.default, Secret) else field.default  # a public address
    if value in (None, "", ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _sentence(config: type) -> str:
    return " ".join((config.__doc__ or "").split())
