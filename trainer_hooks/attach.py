"""Attaches the integration when, and only when, the framework's trainer is imported.

This runs in every Python process that a supervised command starts, so it imports nothing that an interpreter has not
loaded anyway: importlib.abc and typing alone would cost milliseconds each.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing has it
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

INTEGRATIONS = {"ultralytics.engine.trainer": "trainer_hooks.integrations.ultralytics"}
UNWATCHED = "trainer_hooks.unwatched"  # watches no training: it says where nothing does
ATTACHED = {**INTEGRATIONS, "torch.optim.optimizer": UNWATCHED}
ENV_PLAN = "TRAINWARDEN_PLAN"  # as in wire.runfolder, which would load msgspec; a test holds them together
EXIT_CODE = 75  # as in wire.exit_codes, likewise


def install(integrations: Mapping[str, str] = ATTACHED) -> None:
    """Have `attach(module)` of the integration called right after its framework's trainer was executed. Idempotent.

    `integrations` maps the name of a trainer's module to that of its integration. A module that is there already is
    attached to now.
    """
    if any(isinstance(finder, TrainerFinder) and finder.integrations == integrations for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, TrainerFinder(integrations))
    for name, integration in integrations.items():
        if name in sys.modules:
            attach_to(sys.modules[name], integration)


def attach_to(module: ModuleType, integration: str) -> None:
    """Attach, failing open; where a plan waits, failing closed: a training without it could overwrite what it saves."""
    from importlib import import_module  # noqa: PLC0415 - only in a process that trains

    try:
        import_module(integration).attach(module)
    except Exception as error:
        planned = bool(os.environ.get(ENV_PLAN)) and integration != UNWATCHED
        outcome = f"a plan waits, so nothing is trained (exit {EXIT_CODE})" if planned else "training goes on unwatched"
        print(f"trainwarden: could not attach to {module.__name__}: {error!r}; {outcome}", file=sys.stderr, flush=True)
        if planned:
            raise SystemExit(EXIT_CODE) from error


class TrainerFinder:
    """Lets the other finders find the trainer's module, and wraps the loader they name."""

    def __init__(self, integrations: Mapping[str, str]) -> None:
        self.integrations = dict(integrations)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.integrations:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, TrainerFinder) or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                loader: Any = AttachingLoader(spec.loader, self.integrations[fullname])
                spec.loader = loader
                return spec
        return None


class AttachingLoader:
    """The real loader with one step more. Everything else (source, code, resources) is asked of the real one."""

    def __init__(self, real: Any, integration: str) -> None:
        self._real = real
        self._integration = integration

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._real  # what inspects, reloads or pickles the module meets its own loader
        module.__loader__ = self._real
        self._real.exec_module(module)
        attach_to(module, self._integration)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
