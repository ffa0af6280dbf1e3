"""Comes between a training and the `step` of one optimizer, on any torch: there a step is judged, read and measured.

The step is replaced on the optimizer itself, as torch's own schedulers do it, and not through torch's step hooks or in
the class. Hooks can't keep a step from being taken, torch 1.13 has none, and those of others would see what ours did. A
changed class would be in the way of every other optimizer of the process. So a step that is not taken looks to the
training exactly like one that a GradScaler leaves out: `step` was not called, and the gradients are as they were.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch

MARK = "_trainwarden_step"  # on our function, and on what others wrap around it with functools.wraps

_compiler = getattr(torch, "compiler", None)  # the narrower question is the quicker one
_compiling: Callable[[], bool] = (
    getattr(_compiler, "is_dynamo_compiling", None) or getattr(_compiler, "is_compiling", None) or (lambda: False)
)


Around: TypeAlias = Callable[[Any], Callable[[Any], None] | None]
"""Called with the optimizer before a step is taken; what it returns is called so after it. Neither may raise."""


class Judge(Protocol):
    """Decides whether a step may be taken. None of these may raise."""

    def admits(self, optimizer: Any, has_closure: bool) -> bool:
        """False: this step must not be taken."""
        ...

    def evaluating(self, optimizer: Any, closure: Callable[..., Any]) -> Callable[..., Any]:
        """The closure to give to the step instead: it also looks at each new gradient."""
        ...

    def taken(self, optimizer: Any) -> None:
        """The step has returned, or has raised."""
        ...


class WatchedStep:
    """The step of one optimizer. Holds no reference to it."""

    def __init__(self) -> None:
        self.judge: Judge | None = None
        self._around: list[Around] = []
        self.has_closure = False  # the step that is being taken, or was taken last
        self._within = False  # a step that is made up of others is one step

    def add(self, around: Around) -> None:
        """Have this called around each step that is taken."""
        self._around.append(around)

    def remove(self, around: Around) -> None:
        """Undo `add`."""
        self._around = [each for each in self._around if each != around]

    @property
    def used(self) -> bool:
        """True: somebody watches."""
        return bool(self._around) or self.judge is not None

    def run(self, optimizer: Any, step: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Take the step, or leave it out."""
        judge = self.judge
        if self._within or not (self._around or judge):
            return step(*args, **options)
        self._within = True
        afters: list[Callable[[Any], None]] = []
        after_others = None
        try:
            given = args[0] if args else options.get("closure")
            closure = given if callable(given) else None
            self.has_closure = has_closure = closure is not None
            if judge is not None and not judge.admits(optimizer, has_closure):
                return None if closure is None else closure()  # its caller wants the loss
            if getattr(optimizer, "_optimizer_step_pre_hooks", None):
                after_others = self._after_other_hooks(optimizer, afters)
            else:
                for around in self._around:
                    after = around(optimizer)
                    if after is not None:
                        afters.append(after)
            if judge is None or closure is None:
                result = step(*args, **options)
            else:
                result = _with_closure(judge, optimizer, step, closure, args[1:] if args else None, options)
            for after in afters:
                after(optimizer)
            return result
        finally:
            self._within = False
            if after_others is not None:
                after_others.remove()

    def _after_other_hooks(self, optimizer: Any, afters: list[Callable[[Any], None]]) -> Any:
        """Others have hooks that may still change the settings: look after theirs. A handle."""

        def look(given: Any, *_: Any) -> None:
            afters.extend(after for around in self._around if (after := around(given)) is not None)

        return optimizer.register_step_pre_hook(look)


def _with_closure(
    judge: Judge,
    optimizer: Any,
    step: Callable[..., Any],
    closure: Callable[..., Any],
    rest: tuple[Any, ...] | None,
    options: dict[str, Any],
) -> Any:
    """`rest`: what was given after the closure by position; None: the closure was given by its name."""
    evaluate = judge.evaluating(optimizer, closure)
    try:
        return step(**{**options, "closure": evaluate}) if rest is None else step(evaluate, *rest, **options)
    finally:
        judge.taken(optimizer)


def watched_step(optimizer: Any) -> WatchedStep:
    """The watched step of this optimizer, which has one from now on until `release`."""
    inner = optimizer.step
    found = getattr(inner, MARK, None)
    if isinstance(found, WatchedStep):
        return found
    watched = WatchedStep()
    own = getattr(inner, "__self__", None) is optimizer  # a reference to the optimizer would keep its memory
    function = inner.__func__ if own else inner

    @functools.wraps(function)  # with the marks of schedulers, which look for them
    def step(self: Any, *args: Any, **options: Any) -> Any:
        bound = function.__get__(self) if own else function
        return bound(*args, **options) if _compiling() else watched.run(self, bound, args, options)

    setattr(step, MARK, watched)
    step._replaced = vars(optimizer).get("step")  # type: ignore[attr-defined]
    optimizer.step = types.MethodType(step, optimizer)
    return watched


def release(optimizer: Any) -> None:
    """Leave the optimizer as it was, once nobody watches its steps. Under what others have put around it ours idles."""
    ours = vars(optimizer).get("step")
    watched = getattr(ours, MARK, None)
    if not isinstance(watched, WatchedStep) or watched.used or not isinstance(ours, types.MethodType):
        return
    replaced = ours.__func__._replaced  # type: ignore[attr-defined]
    if replaced is None:
        del optimizer.step
    else:
        optimizer.step = replaced


def optimizers_within(optimizer: Any) -> list[Any]:
    """The optimizer, and those that it is built on (SAM, Lookahead and the like keep one under some name)."""
    inner = [each for each in vars(optimizer).values() if isinstance(each, torch.optim.Optimizer)]
    return [optimizer, *(each for each in inner if each is not optimizer)]
