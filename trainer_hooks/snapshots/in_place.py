"""Puts the state of an optimizer back while its loop goes on: into the same tensors, and nothing that the loop sets.

`load_state_dict` makes new groups. A loop that holds one, or sets its rates by a schedule of its own, would be cut off.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from trainer_hooks.snapshots.tree import Tree


def put_back_state(optimizer: torch.optim.Optimizer, saved: Tree) -> None:
    """What the optimizer keeps of each parameter. Its groups stay as they are, but for numbers that are not finite.

    Call `check_optimizer` before.
    """
    places = [place for group in saved["param_groups"] for place in group["params"]]
    keys: dict[Any, Any] = dict(zip(places, _parameters(optimizer), strict=True))
    state = optimizer.state
    for key in [key for key in state if key not in saved["state"] and not isinstance(key, torch.Tensor)]:
        del state[key]
    with torch.no_grad():
        for place, parameter in keys.items():
            if place not in saved["state"]:
                state.pop(parameter, None)
        for place, then in saved["state"].items():
            key = keys.get(place, place)
            now = state.get(key)
            state[key] = _put_back(now, then, key if isinstance(key, torch.Tensor) else None)
    for group, group_then in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        _heal(group, group_then)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _put_back(now: Any, then: Tree, parameter: torch.Tensor | None) -> Any:
    """The saved value: in the present tensor where it fits, else in one where the parameter lies."""
    if isinstance(then, torch.Tensor):
        if isinstance(now, torch.Tensor) and now.shape == then.shape and now.dtype == then.dtype:
            return now.copy_(then)
        return then if parameter is None or not then.ndim else then.to(parameter.device)  # a count stays on the host
    if isinstance(then, dict):
        old = now if isinstance(now, dict) else {}
        fresh = {name: _put_back(old.get(name), value, parameter) for name, value in then.items()}
        if isinstance(now, dict):
            now.clear()
            now.update(fresh)
            return now
        return fresh
    if isinstance(then, list):
        there = now if isinstance(now, list | tuple) and len(now) == len(then) else [None] * len(then)
        made = [_put_back(one, value, parameter) for one, value in zip(there, then, strict=True)]
        return tuple(made) if isinstance(now, tuple) else made
    return then


def _heal(group: dict[str, Any], then: dict[str, Any]) -> None:
    """Some optimizers keep what they have learned in the group; where that is not finite, the loop has not set it."""
    for name, value in then.items():
        now = group.get(name)
        if isinstance(now, float) and isinstance(value, float) and not math.isfinite(now) and math.isfinite(value):
            group[name] = value
