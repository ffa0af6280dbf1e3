"""Attaches the integration when, and only when, the framework's trainer is imported.

Standard library only: this runs in every Python process that a supervised command starts.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

INTEGRATIONS = {"ultralytics.engine.trainer": "trainer_hooks.integrations.ultralytics"}
ENV_PLAN = "TRAINWARDEN_PLAN"  # as in wire.runfolder, which would load msgspec; a test holds them together
EXIT_CODE = 75


def install() -> None:
    """Have `attach(module)` of the integration called right after its framework's trainer was executed. Idempotent."""
    if not any(isinstance(finder, TrainerFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TrainerFinder())
    for name in INTEGRATIONS:
        if name in sys.modules:
            attach_to(sys.modules[name])


def attach_to(module: ModuleType) -> None:
    """Attach, failing open; where a plan waits, failing closed: a training without it could overwrite what it saves."""
    try:
        import_module(INTEGRATIONS[module.__name__]).attach(module)
    except Exception as error:
        planned = bool(os.environ.get(ENV_PLAN))
        outcome = f"a plan waits, so nothing is trained (exit {EXIT_CODE})" if planned else "training goes on unwatched"
        print(f"trainwarden: could not attach to {module.__name__}: {error!r}; {outcome}", file=sys.stderr, flush=True)
        if planned:
            raise SystemExit(EXIT_CODE) from error


class TrainerFinder(importlib.abc.MetaPathFinder):
    """Lets the other finders find the trainer's module, and wraps the loader they name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in INTEGRATIONS:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, TrainerFinder) or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                spec.loader = AttachingLoader(spec.loader)
                return spec
        return None


class AttachingLoader(importlib.abc.Loader):
    """The real loader with one step more. Everything else (source, code, resources) is asked of the real one."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._real  # what inspects, reloads or pickles the module meets its own loader
        module.__loader__ = self._real
        self._real.exec_module(module)
        attach_to(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
