"""The fault that each detector must find, planted in a healthy stream: a module of this folder each, or for several.

The contract suite takes every detector's fault from here: a new detector brings a module of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable

from tests.harness.streams import Stream

Fault = Callable[[Stream, random.Random], None]
_faults: dict[str, Fault] = {}


def fault_of(detector: str) -> Callable[[Fault], Fault]:
    """Make a function the fault of a detector."""

    def add(fault: Fault) -> Fault:
        assert detector not in _faults, f"{detector} has two faults"
        _faults[detector] = fault
        return fault

    return add


def every_fault() -> dict[str, Fault]:
    """The fault of each detector, by the detector's name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_faults.items()))
