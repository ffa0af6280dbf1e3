"""A state as a tree of plain values, which torch reads back with `weights_only=True`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

Tree: TypeAlias = Any  # None, bool, int, float, str, torch.Tensor, and lists and dicts of them


class NotPlainError(Exception):
    """The state holds a value that a snapshot can't keep. Says where it stands and of which type it is."""


def plain(value: Any, where: str = "state") -> Tree:
    """The same value of plain types: tuples become lists, numbers of numpy become Python's.

    Raises NotPlainError.
    """
    if isinstance(value, Mapping):
        return {_key(key, where): plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{place}]") for place, each in enumerate(value)]
    return _leaf(value, where)


def _leaf(value: Any, where: str) -> Tree:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _leaf(value.item(), where)
    for kind in (int, float):  # also of a type built on it, such as an enum
        if isinstance(value, kind):
            return kind(value)
    raise NotPlainError(f"{where}: a value of type {type(value).__qualname__} can't be kept in a snapshot")


def _key(key: Any, where: str) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise NotPlainError(f"{where}: a key of type {type(key).__qualname__} can't be kept in a snapshot")
