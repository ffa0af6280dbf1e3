"""The frameworks that the integrations describe, by name. The one module that reads their descriptions. Pure.

Every folder of trainer_hooks/integrations has a `framework.py` with one `Framework` named FRAMEWORK; a new one is found
by itself. Of an integration nothing else may be imported here, and those files load neither torch nor the framework.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from trainer_hooks import integrations
from trainer_hooks.wire.framework_description import CheckpointKeys, Framework, SavedFiles


@cache
def frameworks() -> tuple[Framework, ...]:
    """Every description, in the order of the integrations' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(integrations.__path__))
    found = [importlib.import_module(f"{integrations.__name__}.{name}.framework").FRAMEWORK for name in names]
    return tuple(found)


@cache
def framework_named(name: str) -> Framework:
    """The description of TrainingStarted.framework; of a name that nobody describes, that of a loop written by hand."""
    known = {one.name: one for one in frameworks()}
    return known.get(name) or next(one for one in frameworks() if one.describes_others)


def files_of(name: str) -> SavedFiles:
    """Where a training's checkpoints lie.

    A plan from before plans named their framework, and a script without a layout of its own, are taken to follow the
    first one that is described; where there is no such folder nothing is touched.
    """
    known = (framework_named(name), *frameworks())
    return next(one.files for one in known if one.files is not None)


def checkpoint_keys() -> tuple[CheckpointKeys, ...]:
    """Of every framework that has a checkpoint format: whose a file is, its keys tell."""
    return tuple(one.checkpoint for one in frameworks() if one.checkpoint is not None)


def attached_to() -> str:
    """What the hooks attach to by themselves, as people read it."""
    return ", ".join(one.supported for one in frameworks() if one.trainer_module)
