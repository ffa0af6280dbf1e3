"""What loading a checkpoint would run: its pickle's names, held against what checkpoints need. Pure.

This reader runs nothing, but the trainer that resumes will load the file with torch.load and weights_only off. A
training's own classes are not on the list: they are passed over only in a file that this training was seen to save.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from monitor.vault.arguments import are_harmless
from monitor.vault.inert import Global, Node, Pickle
from monitor.vault.known_names import (
    BUILT_ON,
    CALLED,
    CLASS_NAME,
    CLASSES,
    IMPORTED,
    INSTALLERS,
    OWN_CLASS_NAME,
    Name,
    is_in,
    is_value,
    rebuilds,
)


class Loading(NamedTuple):
    """What loading would run beyond what checkpoints need."""

    unexpected: tuple[str, ...]  # sentences; none: nothing
    own_classes: tuple[str, ...]  # of a file that the training was seen to save: its own classes


def what_loading_runs(pickle: Pickle, *, seen_saved: bool) -> Loading:
    """Every name and every call of the pickle. `seen_saved`: a hook saw the training of today write this file."""
    judge, foreign = _Judge(seen_saved=seen_saved), _Judge(seen_saved=False)
    found = {sentence for node in pickle.nodes for sentence in judge.of_node(node)}
    makers = [(maker, node.is_new) for node in pickle.nodes if (maker := judge.maker_of(node))]
    unused = pickle.names - {name for name, _ in makers}
    found |= {f"import {shown_name(*name)}" for name in unused if not judge.may_import(name)}
    if pickle.sets_setstate:  # an object's next state would be given to whatever stands there
        found.add("replace an object's __setstate__")
    own = {name for name in pickle.names if judge.is_own_class(*name)}
    own |= {name for name, is_new in makers if is_new and judge.is_own(name[0])}
    return Loading(
        tuple(f"loading it would {what}, which is not on the list of what checkpoints need" for what in sorted(found)),
        tuple(shown_name(*name) for name in sorted(own) if not foreign.may_import(name)),
    )


def shown_name(module: str, name: str) -> str:
    """A name from a file, safe to print."""
    return ascii(f"{module}.{name}")[1:-1][:120]


class _Judge:
    """The rules, for one file."""

    def __init__(self, *, seen_saved: bool) -> None:
        self._seen_saved = seen_saved

    def maker_of(self, node: Node) -> Name | None:
        """The name of what makes an object; None for what another call returned."""
        maker = node.made_by
        if isinstance(maker, Global):
            return maker.module, maker.name
        if self._seen_saved and isinstance(maker, Node) and maker.is_call_of("builtins", "getattr"):
            args = maker.args if isinstance(maker.args, tuple) else ()  # how protocol 2 writes a class within a class
            if len(args) == 2 and isinstance(args[0], Global) and self.is_own_class(args[0].module, str(args[1])):
                return args[0].module, f"{args[0].name}.{args[1]}"
        return None

    def of_node(self, node: Node) -> Iterator[str]:
        """What is wrong with one object that the pickle makes; nothing for one that checkpoints need."""
        name = self.maker_of(node)
        if name is None:
            yield "call what another call returned"
            return
        allowed = (
            self.may_make(*name)
            if node.is_new
            else self.may_call(*name) and are_harmless(node, seen_saved=self._seen_saved)
        )
        if not allowed:
            yield f"{'make an object of' if node.is_new else 'call'} {shown_name(*name)}"
        elif (node.has_state and not self._may_set(node, name)) or (node.is_filled and not self._may_fill(node, name)):
            yield f"change what {shown_name(*name)} returned"

    def may_import(self, name: Name) -> bool:
        """True for what may be named without being used."""
        return name in IMPORTED or self.may_call(*name) or self._is_known_class(*name) or is_value(*name)

    def _is_known_class(self, module: str, name: str) -> bool:
        return self._is_trusted(module) and bool(CLASS_NAME.fullmatch(name))

    def may_make(self, module: str, name: str) -> bool:
        """True for a class whose objects may be made without its __init__: only a class can be used like that."""
        on_the_list = (module, name) in IMPORTED or (module, name) in BUILT_ON
        return on_the_list or self.is_own(module) or (name.isidentifier() and self._is_trusted(module))

    def _is_trusted(self, module: str) -> bool:
        return is_in(module, CLASSES) or (self._seen_saved and is_in(module, ("torch",)))

    def may_call(self, module: str, name: str) -> bool:
        """True for what may be called with any arguments."""
        if (module, name) in CALLED or self.is_own_class(module, name):
            return True
        if (module, name) == (
            "builtins",
            "getattr",
        ):  # a bound method of an object, such as a forward that was replaced
            return self._seen_saved
        return rebuilds(module, name)

    def is_own_class(self, module: str, name: str) -> bool:
        """True for a class of the script by its name, which begins with a capital. A function is not passed over."""
        return self.is_own(module) and bool(OWN_CLASS_NAME.fullmatch(name))

    def is_own(self, module: str) -> bool:
        """True for a module of the script, or of a package it uses, in a file that its training was seen to save."""
        top = module.partition(".")[0]
        closed = top in sys.stdlib_module_names or top in INSTALLERS or top in ("numpy", "torch")
        return self._seen_saved and not closed

    def _may_set(self, node: Node, name: Name) -> bool:
        return node.is_new or name in BUILT_ON or self.is_own_class(*name)

    def _may_fill(self, node: Node, name: Name) -> bool:
        module, short = name
        kept = module in ("builtins", "collections", "copyreg") and self._may_set(node, name)
        return kept or short == "AttributeDict" or self.is_own_class(module, short)
