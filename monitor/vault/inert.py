"""A pickle read as data: a tree of values comes out, and nothing the pickle names is imported, called or changed. Pure.

The standard library's `pickletools` splits the bytes into opcodes; the machine here only moves values on a stack.
Where a pickle wants a class or a call, the tree gets a `Global` or a `Node` that records the wish, by the name that
Python would import: up to protocol 2 pickle replaces the names of Python 2.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, NamedTuple

PICKLE_BYTES_MAX = (
    32 * 1024 * 1024
)  # of 3 million parameters with their optimizer: 0.1 MB; a pickle holds no tensor data
OPCODES_MAX = 4_000_000  # of the same: 44,000; 4 million values fit the child's memory limit


class UnreadableError(Exception):
    """The file holds something this reader does not read, or reads as damage. The text is a sentence for people."""


class Global:
    """A name the pickle wanted imported. It was not."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class Persistent:
    """A persistent id: in a torch file, a storage outside the pickle."""

    __slots__ = ("key",)

    def __init__(self, key: object) -> None:
        self.key = key


class Node:
    """An object the pickle wanted built: what it would have called, with which arguments, state, items and members."""

    __slots__ = ("args", "has_state", "is_filled", "is_new", "items", "made_by", "members", "state")

    def __init__(self, made_by: object, args: object, *, is_new: bool = False) -> None:
        self.made_by = made_by
        self.args = args
        self.is_new = is_new  # True: made by a class's __new__ alone; False: called
        self.has_state = False  # True: it was to be given a state afterwards
        self.is_filled = False  # True: it was to be given items or members afterwards
        self.state: object = None
        self.items: dict[Any, object] = {}
        self.members: list[object] = []

    def is_call_of(self, module: str, prefix: str = "") -> bool:
        """True if it was to be made by `module`.`prefix`..."""
        return (
            isinstance(self.made_by, Global) and self.made_by.module == module and self.made_by.name.startswith(prefix)
        )


class Pickle(NamedTuple):
    """What a pickle says."""

    root: object
    names: frozenset[tuple[str, str]]  # (module, name) of all it would import on loading, used or not
    nodes: tuple[Node, ...]  # all it would make or call on loading, also where the result is dropped
    storages: tuple[tuple[object, ...], ...]  # its persistent ids
    sets_setstate: bool  # it would put something of its own in the place of an object's __setstate__
    end: int  # the first byte after it


def read_pickle(data: bytes) -> Pickle:
    """The tree of a pickle. Raises UnreadableError for no pickle, one over a limit, or unusual opcodes."""
    if len(data) > PICKLE_BYTES_MAX:
        raise UnreadableError(f"the pickle has {len(data)} bytes, the limit is {PICKLE_BYTES_MAX}")
    machine = _Machine()
    last = 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count >= OPCODES_MAX:
                raise UnreadableError(f"the pickle has more than {OPCODES_MAX} opcodes")
            machine.step(opcode.name, argument)
            last = position or 0
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadableError(f"the pickle is damaged: {type(error).__name__}: {str(error)[:120]}") from error
    return machine.result(last + 1)


class _Machine:
    """The stack, the marks and the memo of a pickle. Every method is one opcode or one kind of them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, object] = {}
        self.protocol = 0
        self.names: set[tuple[str, str]] = set()
        self.nodes: list[Node] = []
        self.storages: list[tuple[object, ...]] = []
        self.sets_setstate = False

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _ARGUMENTS:
            self.stack.append(argument)
        elif name in _GETS:
            self.stack.append(self.memo[argument])
        elif name in _PUTS:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in _OPCODES:
            _OPCODES[name](self, argument)
        elif name not in _IGNORED:
            raise UnreadableError(f"the pickle uses the opcode {name}, which torch.save never writes")

    def result(self, end: int) -> Pickle:
        if len(self.stack) != 1 or self.below:
            raise UnreadableError(f"the pickle is damaged: it ends with {len(self.stack)} values instead of one")
        return Pickle(
            self.stack[0], frozenset(self.names), tuple(self.nodes), tuple(self.storages), self.sets_setstate, end
        )

    def set_protocol(self, number: int) -> None:
        self.protocol = number

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def close_tuple(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append(tuple(values))

    def close_list(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append(values)

    def close_set(self, _: Any) -> None:
        """A set is kept as a list: nothing is hashed that need not be."""
        self.close_list(_)

    def close_dict(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append({})
        self.set_pairs(values)

    def short_tuple(self, length: int) -> None:
        values = self.stack[-length:]
        if len(values) < length:
            raise IndexError("a tuple of more values than there are")
        del self.stack[-length:]
        self.stack.append(tuple(values))

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_pairs([key, value])

    def set_items(self, _: Any) -> None:
        values = self.since_mark()
        self.set_pairs(values)

    def set_pairs(self, values: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Node) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise TypeError("items for something that is not a mapping")
        if isinstance(target, Node):
            target.is_filled = True
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.sets_setstate |= key == "__setstate__"
            items[_checked_key(key)] = value

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        self.extend([value])

    def extend_since_mark(self, _: Any) -> None:
        values = self.since_mark()
        self.extend(values)

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        members = target.members if isinstance(target, Node) else target
        if not isinstance(members, list):
            raise TypeError("members for something that is not a list")
        if isinstance(target, Node):
            target.is_filled = True
        members.extend(values)

    def name_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        if self.protocol < 3:
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.add((module, name))
        self.stack.append(Global(module, name))

    def name_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global whose name is not text")
        self.push_global(module, name)

    def call(self, _: Any) -> None:
        args, made_by = self.stack.pop(), self.stack.pop()
        self.push_node(Node(made_by, args))

    def new(self, _: Any) -> None:
        args, made_by = self.stack.pop(), self.stack.pop()
        self.push_node(Node(made_by, args, is_new=True))

    def new_with_keywords(self, _: Any) -> None:
        keywords, args, made_by = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.push_node(Node(made_by, (args, keywords), is_new=True))

    def push_node(self, node: Node) -> None:
        self.nodes.append(node)
        self.stack.append(node)

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Node):
            raise TypeError("a state for something that is not an object")
        if target.has_state:
            raise TypeError("a second state for one object")
        target.state, target.has_state = state, True

    def persistent(self, _: Any) -> None:
        key = self.stack.pop()
        if isinstance(key, tuple) and len(key) > 1 and key[0] == "module" and isinstance(key[1], Global):
            self.stack.append(key[1])  # torch before 1.6: a class with its source, which is only compared
            return
        if isinstance(key, tuple):
            self.storages.append(key)
        self.stack.append(Persistent(key))


_SCALARS = (str, int, float, bool, bytes, type(None))


def _checked_key(key: object) -> object:
    """The key, if hashing it is cheap and runs nobody's code: a deeply nested tuple overflows the C stack in hash()."""
    flat = isinstance(key, tuple) and all(isinstance(part, _SCALARS) for part in key)
    if flat or isinstance(key, (*_SCALARS, Global, Node, Persistent)):
        return key
    raise TypeError(f"a {type(key).__name__} as the key of a mapping")


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_IGNORED = frozenset(("FRAME", "STOP"))
_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.set_protocol,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.since_mark().clear(),
    "DUP": _Machine.duplicate,
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "LIST": _Machine.close_list,
    "DICT": _Machine.close_dict,
    "TUPLE": _Machine.close_tuple,
    "TUPLE1": lambda machine, _: machine.short_tuple(1),
    "TUPLE2": lambda machine, _: machine.short_tuple(2),
    "TUPLE3": lambda machine, _: machine.short_tuple(3),
    "FROZENSET": _Machine.close_set,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend_since_mark,
    "ADDITEMS": _Machine.extend_since_mark,
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": _Machine.name_stack_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.new,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
