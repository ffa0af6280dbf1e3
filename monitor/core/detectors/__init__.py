"""Detectors: one file each, found by their registration.

A detector is a function of a view and its config; it keeps nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from monitor.core.model import Finding
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import BatchEnded

Detector = Callable[[RunView, Any], Finding | None]
_registry: dict[str, Detector] = {}


class Moment(Enum):
    """When a detector is asked."""

    NONFINITE = auto()  # a batch with a non-finite value, of any rank
    BATCH = auto()  # a batch without one, of any rank
    EVENT = auto()  # an event, of any rank, or the verdict on a checkpoint
    TICK = auto()  # time has passed in a training that is alive
    HARDWARE = auto()  # a reading of host, volumes and GPUs, in a training that is alive


NORM, TIME, MEMORY, SCALE, UPDATE = 1, 2, 4, 8, 16  # what a batch may tell of beside its loss, as bits
EVERYTHING = NORM | TIME | MEMORY | SCALE | UPDATE

_moments: dict[str, Moment] = {}
_needs: dict[str, int] = {}


def register(name: str, asked: Moment = Moment.NONFINITE, *, needs: int = 0) -> Callable[[Detector], Detector]:
    """Make a function a detector. `name` is also its key under `detectors:` in the policy file.

    One that `needs` something (NORM, TIME, ...) is asked only at batches that tell of it. Raises ValueError if the name
    is taken.
    """

    def add(detector: Detector) -> Detector:
        if name in _registry:
            raise ValueError(
                f"detector {name!r}: {_registry[name].__module__} and {detector.__module__} register it; rename one"
            )
        _registry[name] = detector
        _moments[name], _needs[name] = asked, needs
        return detector

    return add


def load_all() -> dict[str, Detector]:
    """Every detector of this folder by name, in the order of their names."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return dict(sorted(_registry.items()))


def moment_of(name: str) -> Moment:
    """When the detector of that name is asked. Raises KeyError for one that is not registered."""
    return _moments[name]


def needs_of(name: str) -> int:
    """What a batch must tell of for the detector to be asked. Raises KeyError for one that is not registered."""
    return _needs[name]


def available_in(batch: BatchEnded) -> int:
    """What a batch tells of, as bits."""
    told = NORM if batch.grad_norm is not None else 0
    if batch.batch_s is not None:
        told |= TIME
    if batch.memory_reserved is not None or batch.memory_allocated is not None:
        told |= MEMORY
    if batch.loss_scale is not None:
        told |= SCALE
    return told | UPDATE if batch.update_ratio is not None else told
