"""What holds for every test."""

from __future__ import annotations

import importlib.util
import re
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL}
OPTIONAL_IMPORT = re.compile(r"^(?:import|from) (torch|ultralytics|cv2|schemathesis)\b", re.MULTILINE)


def pytest_configure() -> None:
    """A shell that runs the suite in the background has it ignore both, and every training it starts would too."""
    for number, handler in HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


class SkippedModule(pytest.Module):
    """A file of tests that can't be imported here."""

    reason = ""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        pytest.skip(self.reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip, by name, the files that import one of `OPTIONAL_IMPORT` that is not installed."""
    for name in sorted(set(OPTIONAL_IMPORT.findall(module_path.read_text()))):
        if importlib.util.find_spec(name) is None:
            module = SkippedModule.from_parent(parent, path=module_path)
            module.reason = f"{module_path.name}: {name} is not installed"
            return module
    return None
