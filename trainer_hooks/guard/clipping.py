"""Notes the gradient norm that a training's own clipping finds, and passes everything on unchanged.

`torch.nn.utils.clip_grad_norm_` discards the norm for most trainings. It has two halves: one finds the total norm, the
other scales the gradients by it. We come between the two where torch has them as two functions: there only the bad
gradient is NaN, after the second half all are. Older releases have one function, and all of it is wrapped.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

import torch

HALF = "_clip_grads_with_norm_"  # the private name of the second half, from torch 2.6 on


class Clipping(Protocol):
    """Whose parameters are clipped; each clip within its optimizer step is reported here."""

    stepping: bool  # a step is running
    clip_norm: float | None  # the limit to clip to; None: the one that was asked for

    def found(self, parameters: list[torch.Tensor], norm: torch.Tensor, limit: float, scaled: bool) -> None:
        """The norm before clipping. `scaled`: they are clipped by it already; else they will be, in one write each."""
        ...


owners: dict[int, ref[Clipping]] = {}  # by the id of each parameter of a guarded training
original: Callable[..., torch.Tensor] = torch.nn.utils.clip_grad.clip_grad_norm_


def watch_clipping() -> None:
    """Come between every training and its clipping. Done once; outside of a guarded step nothing is different."""
    module: Any = importlib.import_module("torch.nn.utils.clip_grad")
    if getattr(module.clip_grad_norm_, "_trainwarden", False) or hasattr(getattr(module, HALF, None), "_trainwarden"):
        return
    if _has_halves(module):
        setattr(module, HALF, _marked(_second_half(getattr(module, HALF))))
        return
    whole = _marked(_whole(module.clip_grad_norm_))
    for each in (torch.nn.utils, module):  # both, so that a pickled reference finds what it named
        each.clip_grad_norm_ = whole


def _has_halves(module: Any) -> bool:
    """True: clip_grad_norm_ looks the second half up by its name each time it is called."""
    code = getattr(getattr(module.clip_grad_norm_, "__wrapped__", module.clip_grad_norm_), "__code__", None)
    return hasattr(module, HALF) and code is not None and HALF in code.co_names


def _marked(function: Any) -> Any:
    function._trainwarden = True
    return function


def _listed(parameters: Any) -> list[torch.Tensor]:
    """A list is not copied: that would touch each of hundreds of parameters."""
    if isinstance(parameters, list):
        return parameters
    return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)


def _owner(parameters: list[torch.Tensor]) -> Clipping | None:
    """Whose they are, be it only some of them: the first may be frozen, and in no optimizer."""
    for each in parameters:
        found = owners.get(id(each))
        if found is not None:
            return found()
    return None


def _second_half(half: Callable[..., None]) -> Any:
    @functools.wraps(half)
    def between(parameters: Any, max_norm: float, total_norm: torch.Tensor, *rest: Any, **options: Any) -> None:
        if not owners:
            half(parameters, max_norm, total_norm, *rest, **options)
            return
        listed = parameters if type(parameters) is list else _listed(parameters)
        training = _owner(listed)
        if training is None or not training.stepping:
            half(listed, max_norm, total_norm, *rest, **options)
            return
        limit = max_norm if training.clip_norm is None else training.clip_norm
        training.found(listed, total_norm, limit, False)
        half(listed, limit, total_norm, *rest, **options)

    return between


def _whole(clip: Callable[..., torch.Tensor]) -> Any:
    @functools.wraps(clip)
    def clip_grad_norm_(parameters: Any, max_norm: float, *rest: Any, **options: Any) -> torch.Tensor:
        if not owners:
            return clip(parameters, max_norm, *rest, **options)
        listed = _listed(parameters)
        training = _owner(listed)
        if training is None or not training.stepping:
            return clip(listed, max_norm, *rest, **options)
        limit = max_norm if training.clip_norm is None else training.clip_norm
        norm = clip(listed, limit, *rest, **options)
        training.found(listed, norm, limit, True)
        return norm

    return clip_grad_norm_
