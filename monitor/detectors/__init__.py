"""Detectors: one file each, found by their registration.

A detector is a function of a view and its config; it keeps nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from monitor.model import Finding
from monitor.state.view import RunView

Detector = Callable[[RunView, Any], Finding | None]
_registry: dict[str, Detector] = {}


class Moment(Enum):
    """When a detector is asked."""

    NONFINITE = auto()  # a batch with a non-finite value, of any rank
    BATCH = auto()  # a batch without one, of any rank
    EVENT = auto()  # an event, of any rank
    TICK = auto()  # time has passed in a training that is alive


_moments: dict[str, Moment] = {}


def register(name: str, asked: Moment = Moment.NONFINITE) -> Callable[[Detector], Detector]:
    """Make a function a detector. `name` is also its key under `detectors:` in the policy file.

    Raises ValueError if it is taken.
    """

    def add(detector: Detector) -> Detector:
        if name in _registry:
            raise ValueError(
                f"detector {name!r}: {_registry[name].__module__} and {detector.__module__} register it; rename one"
            )
        _registry[name] = detector
        _moments[name] = asked
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
