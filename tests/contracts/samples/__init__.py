"""What each plug-in gives to the contract of its kind: one file a plug-in, named `<kind of plug-in>_<its name>.py`.

`sample` finds it. A plug-in without one fails its contract with a sentence that says what to add; no list is kept.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


def sample(kind: str, name: str, gives: str) -> ModuleType:
    """The module of samples of one plug-in. Fails the test where there is none, and says what to write (`gives`)."""
    module = f"{__name__}.{kind}_{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        path = module.replace(".", "/")
        pytest.fail(f"{kind} {name!r} has no sample for its contract: add {path}.py with {gives}", pytrace=False)
