"""Which arguments make a function of the list harmless: some would call one of them, or look one up. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from monitor.vault.inert import Global, Node
from monitor.vault.known_names import BASES, IMPORTED, PARTIALS, is_in, is_plain, is_value, rebuilds


class _Call(NamedTuple):
    node: Node
    args: tuple[object, ...]
    seen_saved: bool


def are_harmless(node: Node, *, seen_saved: bool) -> bool:
    """False for a call whose arguments would run something else than the function itself."""
    args = node.args if isinstance(node.args, tuple) else ()
    rules = [rule for module, name, rule in _RULES if node.is_call_of(module, name)]
    return all(rule(_Call(node, args, seen_saved)) for rule in rules)


def _rebuild_from_type(call: _Call) -> bool:
    """It calls its first argument with the third."""
    return bool(call.args) and isinstance(call.args[0], Global) and rebuilds(call.args[0].module, call.args[0].name)


def _partial(call: _Call) -> bool:
    """A pickle can bring an object to call what it keeps. A training's own functions are judged by their names."""
    state = call.node.state
    kept = [call.args[:1], state[:1] if isinstance(state, tuple) else call.args[:1]]
    return call.seen_saved or all(one and _may_be_kept(one[0]) for one in kept)


def _may_be_kept(wanted: object) -> bool:
    if not isinstance(wanted, Global):
        return False
    known = (wanted.module, wanted.name) in IMPORTED or is_value(wanted.module, wanted.name)
    return known or is_in(wanted.module, PARTIALS)


def _generator(call: _Call) -> bool:
    """It calls the class, or the function, that it is given."""
    return all(isinstance(one, str) or _is_of_numpy_random(one) for one in call.args)


def _is_of_numpy_random(value: object) -> bool:
    wanted = value.made_by if isinstance(value, Node) else value
    return isinstance(wanted, Global) and is_in(wanted.module, ("numpy.random",))


def _reconstructor(call: _Call) -> bool:
    """It calls the __init__ of the second class."""
    base = call.args[1] if len(call.args) == 3 else None
    return isinstance(base, Global) and base.module == "builtins" and base.name in BASES


def _encode(call: _Call) -> bool:
    """It imports the codec."""
    return len(call.args) == 2 and call.args[1] in ("latin1", "latin-1", "utf-8")


def _getattr(call: _Call) -> bool:
    return len(call.args) == 2 and isinstance(call.args[0], (Node, Global)) and is_plain(call.args[1])


_RULES: tuple[tuple[str, str, Callable[[_Call], bool]], ...] = (
    ("torch._tensor", "_rebuild_from_type", _rebuild_from_type),
    ("functools", "partial", _partial),
    ("numpy.random._pickle", "", _generator),
    ("copyreg", "_reconstructor", _reconstructor),
    ("_codecs", "encode", _encode),
    ("builtins", "getattr", _getattr),
)
