"""Attaches to Ultralytics: wraps three methods of its BaseTrainer once, and gives every trainer its callbacks.

What a trainer carries must survive the pickling that Ultralytics does for the children of a DDP launch: callbacks are
`Callback` objects, which unpickle by attaching in the child; everything else lies in this module, not on the trainer.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from trainer_hooks.breaker import Breaker
from trainer_hooks.integrations.ultralytics import start
from trainer_hooks.integrations.ultralytics.process import (
    ENV_GUARD,
    ProbeLike,
    Process,
    Training,
    connect_probe,
    describe_to_children,
)
from trainer_hooks.integrations.ultralytics.session import Session
from trainer_hooks.orders import LeaveTraining

TRAINER_MODULE = "ultralytics.engine.trainer"
CALLBACKS = (
    "on_pretrain_routine_end",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_model_save",
    "on_fit_epoch_end",
)

_process = Process(connect_probe)
_trainings: WeakKeyDictionary[Any, Training] = WeakKeyDictionary()  # by trainer, from its __init__ on
_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()  # by trainer, while it trains


def attach(trainer_module: Any, connect: Callable[[int], ProbeLike] | None = None, *, guard: bool = True) -> None:
    """Have every trainer of `trainer_module` (ultralytics.engine.trainer) watched from now on. Again is harmless.

    `connect` gives the probe of a rank, and starts the totals anew; by default the probe of this process. `guard=False`
    or TRAINWARDEN_GUARD=off only looks and reports.
    """
    global _process  # noqa: PLW0603  one process has one state; a test or an embedding program gives another
    if connect is not None:
        _process = Process(connect)
    _process.guard_acts = guard and os.environ.get(ENV_GUARD, "").lower() != "off"
    trainer_class = trainer_module.BaseTrainer
    for name, wrap in (("__init__", _wrap_init), ("_setup_train", _wrap_setup), ("train", _wrap_train)):
        original = getattr(trainer_class, name)
        if not getattr(original, "_trainwarden", False):
            wrapped = functools.wraps(original)(wrap(original))
            wrapped._trainwarden = True
            setattr(trainer_class, name, wrapped)


def watch(model: Any = None, *, guard: bool = True) -> None:
    """Watch the trainings of this process from now on: `watch(model)` before `model.train(...)`.

    `model` is only there so that the line reads well: the hooks attach to the trainer class of every model.
    """
    del model
    attach(importlib.import_module(TRAINER_MODULE), guard=guard)


class Callback:
    """One of the trainer's callbacks. Unpickled in another process, it attaches there."""

    __slots__ = ("event",)

    def __init__(self, event: str) -> None:
        self.event = event

    def __call__(self, trainer: Any) -> None:
        session = _sessions.get(trainer)
        if session is not None:
            session.breaker.run(self.event, getattr(session, self.event), trainer)

    def __reduce__(self) -> tuple[Callable[[str], Callback], tuple[str]]:
        return _callback_elsewhere, (self.event,)


def _callback_elsewhere(event: str) -> Callback:
    attach(importlib.import_module(TRAINER_MODULE), guard=_process.guard_acts)
    return Callback(event)


def _wrap_init(original: Any) -> Any:
    def init(self: Any, cfg: Any = None, overrides: Any = None, *rest: Any, **options: Any) -> None:
        given = dict(overrides or {})
        training = start.with_plan(_process.next_training(given))
        _trainings[self] = training
        plan = training.plan
        arguments = {} if cfg is None else {"cfg": cfg}
        if plan is None:
            original(self, *_positional(cfg, overrides, rest), **options) if rest else original(
                self, overrides=overrides, **arguments, **options
            )
        else:
            resumed = start.overrides_for(plan, given)
            start.fail_closed(
                "building the trainer", lambda: original(self, overrides=resumed, **arguments, **_named(rest), **options)
            )
            start.check_folder(plan, self)
        for event in CALLBACKS:
            listed = self.callbacks.setdefault(event, [])
            if not any(isinstance(callback, Callback) for callback in listed):
                listed.append(Callback(event))

    return init
