"""`watch`: a loop written by hand is watched from here on."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer_hooks.integrations.plain.arguments import device_of, optimizer_of, optimizers_of
from trainer_hooks.integrations.plain.framework import FRAMEWORK
from trainer_hooks.integrations.plain.going_back import wants_snapshots
from trainer_hooks.integrations.plain.loop import Loop, Watched
from trainer_hooks.integrations.plain.saved_state import SavedState
from trainer_hooks.probe import open_training
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.settings import SettingsWatch
from trainer_hooks.recorder.started import TrainingFacts
from trainer_hooks.trainings import TrainingName, digest_of
from trainer_hooks.updates import UpdateSampler, steps_between

_log = logging.getLogger("trainwarden")


@dataclass(frozen=True, slots=True)
class _Given:
    """The arguments of `watch`, of whatever type they are."""

    model: Any
    optimizers: Any
    epochs: Any
    batches_per_epoch: Any
    scheduler: Any
    ema: Any
    loader: Any
    settings: Mapping[str, object] | None
    part_names: Any
    update_every: int | None


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    epochs: int | None = None,
    batches_per_epoch: int | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    ema: Any = None,
    loader: Any = None,
    settings: Mapping[str, object] | None = None,
    part_names: tuple[str, ...] = (),
    measure_norm: bool = True,
    update_every: int | None = None,
    connect: Callable[[TrainingName], ProbeLike] = open_training,
) -> Loop:
    """Watch a training from now on; call `batch` of what it returns at the end of every batch, and `end` at the end.

    Or use what it returns in a `with`, which ends it. What can't be used is reported on the log. It only raises, a
    SystemExit of 75, where the run must start from a plan that can't be read.
    `epochs=None`: a loop that counts steps, `batches_per_epoch` in all (None: not known). `scheduler` and `scaler` are
    torch's, `ema` is the moving average of the weights (a module, or a dict or list of tensors), which goes back with
    them, `loader` a loader with `state_dict` and `load_state_dict`, such as torchdata's StatefulDataLoader, for
    `Loop.resume`. `settings` is what a report should show. `measure_norm=False` where `batch` is given the norm that
    clip_grad_norm_ returns. Once in `update_every` optimizer steps the size of the update is sampled; 0: never. Each
    call is a training of its own, whose probe `connect` gives.
    """
    loop = Loop(scaler, measure_norm)
    given = _Given(
        model, optimizer, epochs, batches_per_epoch, scheduler, ema, loader, settings, part_names, update_every
    )
    try:
        loop.start(connect, _watched(loop, given, scaler))
    except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
        _log.warning("this training is not watched: %s: %s", type(error).__name__, error)
    return loop


def _watched(loop: Loop, given: _Given, scaler: Any) -> Watched:
    """Everything that is known of the training before it begins. Raises what prevents that."""
    optimizer, remark = optimizer_of(given.optimizers)
    if remark:
        loop.arguments.complain("optimizer", f"watch(): {remark}")
    state = _state_of(loop, given, scaler) if wants_snapshots() else None
    every = steps_between() if given.update_every is None else given.update_every
    return Watched(
        facts=_facts(loop, given, optimizer, goes_back=state is not None),
        updates=UpdateSampler(optimizer, every),
        optimizer=optimizer,
        settings=SettingsWatch(optimizer, given.scheduler),
        device=device_of(given.model, optimizer),
        model=given.model,
        state=state,
    )


def _facts(loop: Loop, given: _Given, optimizer: Any, *, goes_back: bool) -> TrainingFacts:
    shown = {name: str(value) for name, value in (given.settings or {}).items()}
    part_names = tuple(str(name) for name in given.part_names)
    arguments = {
        "epochs": given.epochs,
        "batches": given.batches_per_epoch,
        "parts": part_names,
        "settings": dict(shown),
    }
    if optimizer.param_groups:
        shown.setdefault("optimizer", type(optimizer).__name__)
        group = optimizer.param_groups[0]
        shown.setdefault(FRAMEWORK.settings.learning_rate, str(group.get("initial_lr", group["lr"])))
    return TrainingFacts(
        framework=FRAMEWORK.name,
        settings=shown,
        epochs=loop.arguments.whole("epochs", given.epochs) or 1,
        batches_per_epoch=loop.arguments.whole("batches_per_epoch", given.batches_per_epoch) or 0,
        save_dir=os.getcwd(),  # noqa: PTH109 - a text is what is sent
        arguments_digest=digest_of({"argv": sys.argv, **arguments}),
        part_names=part_names,
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        goes_back=goes_back,
        keeps_position=True,
    )


def _state_of(loop: Loop, given: _Given, scaler: Any) -> SavedState | None:
    """What can be saved of the training and put back; None: it can't, which is reported."""
    try:
        optimizers = optimizers_of(given.optimizers)
        return SavedState(given.model, optimizers, given.ema, scaler, given.scheduler, given.loader)
    except Exception as error:  # noqa: BLE001 - anything may be given
        loop.arguments.complain("snapshots", f"watch(): no snapshots are taken of this training: {error}")
        return None
