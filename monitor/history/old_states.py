"""States of runs as earlier versions wrote them, in the names of today. Pure.

A field that is missing is filled in, and one that is not known is passed over: without this a state of an earlier
version would be read without an error, and without its incidents' timelines.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from monitor.core.state.run import Fleet, RunState

RENAMED = dict(  # noqa: C408 - names of fields, and no texts
    lifted="short_mean_high",
    odd_sizes="size_mismatch_streak",
    rung="action",
    shim_pid="supervisor_pid",
    spell="streak",
    spells="streaks",
    story="timeline",
)
MARK = b"\xa6spells"  # a field of every run's state until the renaming, as msgpack has it

_fleets = msgspec.msgpack.Decoder(Fleet)
_runs = msgspec.msgpack.Decoder(RunState)


def _names_on_disk(root: Any) -> set[str]:
    """The names of all fields that a type leads to. Some keep their old one in what is stored."""
    names, seen, waiting = set[str](), set[Any](), [root]
    while waiting:
        hint = waiting.pop()
        waiting.extend(get_args(hint))
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in seen:
            seen.add(hint)
            names |= {field.encode_name for field in msgspec.structs.fields(hint)}
            waiting.extend(get_type_hints(hint).values())
    return names


@cache
def _new_names() -> dict[str, str]:
    on_disk = _names_on_disk(Fleet)
    return {old: new for old, new in RENAMED.items() if old not in on_disk}


def fleet_of(data: bytes) -> Fleet:
    """The whole state, of this version or an earlier one. Raises msgspec.DecodeError for anything else."""
    return _fleets.decode(_in_names_of_today(data))


def run_of(data: bytes) -> RunState:
    """The state of one run, likewise."""
    return _runs.decode(_in_names_of_today(data))


def _in_names_of_today(data: bytes) -> bytes:
    return msgspec.msgpack.encode(_renamed(msgspec.msgpack.decode(data))) if MARK in data else data


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_new_names().get(key, key): _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value
