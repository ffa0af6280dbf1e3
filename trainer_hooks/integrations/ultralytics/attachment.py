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
from weakref import WeakKeyDictionary, WeakSet

from trainer_hooks.crash import describe_exception
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.integrations.ultralytics import start
from trainer_hooks.integrations.ultralytics.framework import FRAMEWORK
from trainer_hooks.integrations.ultralytics.process import (
    ENV_GUARD,
    Process,
    Training,
    connect_probe,
    describe_to_children,
)
from trainer_hooks.integrations.ultralytics.session import Session
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.trainings import begin_training

CALLBACKS = (
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_model_save",
    "on_fit_epoch_end",
)

_process = Process(connect_probe, begin_training)
_trainings: WeakKeyDictionary[Any, Training] = WeakKeyDictionary()  # by trainer, from its __init__ on
_trained: WeakSet[Any] = WeakSet()  # trainers whose training has been used
_sessions: dict[int, Session] = {}  # by id of the trainer, which is alive while it trains


def attach(trainer_module: Any, connect: Callable[[Training], ProbeLike] | None = None, *, guard: bool = True) -> None:
    """Have every trainer of `trainer_module` (ultralytics.engine.trainer) watched from now on. Again is harmless.

    `connect` gives the probe of a training in place of our own, and counts the trainings anew. `guard=False` or
    TRAINWARDEN_GUARD=off only looks and reports.
    """
    global _process  # noqa: PLW0603  one process has one state; a test or an embedding program gives another
    if connect is not None:
        _process = Process(connect)
    _process.guard_acts = guard and os.environ.get(ENV_GUARD, "").lower() != "off"
    trainer_class = trainer_module.BaseTrainer
    wrappers = {"__init__": _wrap_init, "_setup_train": _wrap_setup, "train": _wrap_train}
    for name, wrap in wrappers.items():
        original = getattr(trainer_class, name)
        if not getattr(original, "_trainwarden", False):
            wrapped: Any = functools.wraps(original)(wrap(original))
            wrapped._trainwarden = True
            setattr(trainer_class, name, wrapped)


def detach(trainer_module: Any) -> None:
    """Undo `attach` for trainers that are built from now on; those that train already go on being watched."""
    trainer_class = trainer_module.BaseTrainer
    for name in ("__init__", "_setup_train", "train"):
        wrapped = getattr(trainer_class, name)
        if getattr(wrapped, "_trainwarden", False):
            setattr(trainer_class, name, wrapped.__wrapped__)


def watch(model: Any = None, *, guard: bool = True) -> None:
    """Watch the trainings of this process from now on: `watch(model)` before `model.train(...)`.

    `model` is only there so that the line reads well: the hooks attach to the trainer class of every model.
    """
    del model
    attach(importlib.import_module(FRAMEWORK.trainer_module), guard=guard)


class Callback:
    """One of the trainer's callbacks. Unpickled in another process, it attaches there."""

    __slots__ = ("event",)

    def __init__(self, event: str) -> None:
        self.event = event

    def __call__(self, trainer: Any) -> None:
        session = _sessions.get(id(trainer))
        if session is None or self.event in session.fail_open.off:
            return
        try:
            getattr(session, self.event)(trainer)
        except Exception as error:  # noqa: BLE001 - as FailOpen.run
            session.fail_open.failed(self.event, error)

    def __reduce__(self) -> tuple[Callable[[str, bool], Callback], tuple[str, bool]]:
        return _callback_elsewhere, (self.event, _process.guard_acts)


def _callback_elsewhere(event: str, guard_acts: bool) -> Callback:
    attach(importlib.import_module(FRAMEWORK.trainer_module), guard=guard_acts)
    return Callback(event)


def _wrap_init(original: Any) -> Any:
    def init(self: Any, *args: Any, **options: Any) -> None:
        overrides = dict((args[1] if len(args) > 1 else options.get("overrides")) or {})
        training = start.with_plan(_process.next_training(overrides))
        _trainings[self] = training
        plan = training.plan
        if plan is None:
            original(self, *args, **options)
        else:
            args, options = _replace(start.overrides_for(plan, overrides), args, options)
            start.fail_closed("building the trainer", lambda: original(self, *args, **options))
            start.check_folder(plan, self)
        for event in CALLBACKS:
            listed = self.callbacks.setdefault(event, [])
            if not any(isinstance(callback, Callback) for callback in listed):
                listed.append(Callback(event))

    return init


def _replace(
    overrides: dict[str, Any], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of BaseTrainer.__init__(cfg, overrides, _callbacks) with other overrides."""
    if len(args) > 1:
        return (args[0], overrides, *args[2:]), options
    return args, {**options, "overrides": overrides}


def _wrap_setup(original: Any) -> Any:
    def setup(self: Any, *args: Any, **options: Any) -> Any:
        training = _trainings.get(self)
        if training is None or training.plan is None or training.plan.checkpoint is None:
            return original(self, *args, **options)
        plan, checkpoint = training.plan, training.plan.checkpoint
        self.model = checkpoint.path  # a model loaded beforehand (a start from .pt weights) would silently not resume
        start.fail_closed("seeding", lambda: start.reseed(plan, self))
        return start.fail_closed("setting the trainer up", lambda: original(self, *args, **options))

    return setup


def _wrap_train(original: Any) -> Any:
    def train(self: Any, *args: Any, **options: Any) -> Any:
        training = _trainings.get(self)
        if training is None:  # built before we attached
            return original(self, *args, **options)
        if self in _trained:
            training = _process.again(training)
        _trained.add(self)
        if getattr(self, "ddp", False):
            return _launch(training, original, self, *args, **options)
        session = _open_session(self, training)
        if session is None:
            return original(self, *args, **options)
        _sessions[id(self)] = session
        how, detail = "finished", ""
        try:
            session.fail_open.run("begin", session.begins, self)
            return original(self, *args, **options)
        except BaseException as error:
            how, detail = _how(error)
            raise
        finally:
            session.fail_open.run("end", session.ended, self, how, detail)
            _sessions.pop(id(self), None)

    return train


def _launch(training: Training, original: Any, *args: Any, **options: Any) -> Any:
    """The parent of a DDP launch: it trains nothing and sends nothing; its children learn which training they are."""
    described = FailOpen(lambda _: None).run("launch", describe_to_children, _process, training) or {}
    before = {name: os.environ.get(name) for name in described}
    os.environ.update(described)
    try:
        return original(*args, **options)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _open_session(trainer: Any, training: Training) -> Session | None:
    """The session of a training, or None where it can't be reported: then it is trained all the same.

    Except where a plan is to be followed: settings that nobody puts in force cure nothing.
    """
    from ultralytics.utils import RANK  # noqa: PLC0415  never import a framework before its user does

    rank = max(int(RANK), 0)

    def opened() -> Session:
        return Session(training, _process.connect(training), rank, guard_acts=_process.guard_acts)

    if training.plan is not None:
        return start.fail_closed("connecting", opened)
    return FailOpen(lambda _: None).run("connect", opened)


def _how(error: BaseException) -> tuple[str, str]:
    if isinstance(error, LeaveTraining):
        return "order", error.order.reason
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ""
    return "exception", describe_exception(error)
