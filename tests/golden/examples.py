"""One fixed, fully filled instance of every struct that is sent or stored, made from its type.

A field's value depends on its name and place alone, so that a new last field changes no other value. What belongs to a
closed set is named in MEANT.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

import msgspec

MEANT: dict[str, object] = {  # by struct and field, or by field
    "AlertSettled.outcome": "delivered",
    "CommandGiven.kind": "stop",
    "Generation.allocated_by": "hook",
    "Order.kind": "stop",
    "Plan.kind": "rollback",
    "RaiseAlert.kind": "incident_opened",
    "StacksSeen.how": "hook",
    "action": "rollback",
    "escalation": "SIGTERM",
    "how": "finished",
    "outcome": "applied",
    "phase": "train",
    "protocol": 1,
    "severity": "warning",
    "skipped_by": "guard",
    "training": 2,
    "verdict": "sound",
    "version": 1,
}


def example(kind: type[msgspec.Struct], **given: Any) -> Any:
    """The instance of a struct; `given` are fields to be taken instead."""
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], f"{kind.__name__}.{name}", n) for n, name in enumerate(kind.__struct_fields__)}
    return kind(**{**values, **given})


def _value(hint: Any, name: str, place: int) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(next(a for a in arguments if a is not type(None)), name, place)
    if origin in (tuple, list):
        items = arguments[:1] * 2 if arguments[-1] is ... or origin is list else arguments
        return origin(_value(item, name, place + n) for n, item in enumerate(items))
    if origin is dict:
        return {f"key{n}": _value(arguments[1], name, place + n) for n in range(2)}
    return example(hint) if issubclass(hint, msgspec.Struct) else _plain(hint, name, place)


def _plain(hint: type, name: str, place: int) -> Any:
    meant = MEANT.get(name, MEANT.get(name.rpartition(".")[2]))
    if issubclass(hint, enum.Enum):
        return hint(meant) if meant in list(hint) else list(hint)[-1]
    if meant is not None:
        return meant
    text = name.rpartition(".")[2]
    return {bool: True, int: place + 1, float: place + 0.5, str: text, bytes: text.encode()}[hint]


def reachable(*roots: Any) -> dict[str, type[msgspec.Struct]]:
    """Every struct that these types lead to, by name, the roots first."""
    found: dict[str, type[msgspec.Struct]] = {}
    waiting = list(roots)
    while waiting:
        hint = waiting.pop(0)
        waiting.extend(typing.get_args(hint))
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint.__name__ not in found:
            found[hint.__name__] = hint
            waiting.extend(typing.get_type_hints(hint).values())
    return found
