"""The way through the house, held: import contracts, and what importing a package may load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(module: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter after `import module`."""
    code = f"import {module}, sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(out.stdout))


def test_the_import_contracts_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", ["trainer_hooks", "trainer_hooks.wire.messages", "trainer_hooks.probe"])
def test_the_hooks_load_nothing_heavy(module: str) -> None:
    heavy = {
        "torch",
        "ultralytics",
        "numpy",
        "pydantic",
        "starlette",
        "httpx",
        "prometheus_client",
        "monitor",
        "alerts",
    }
    assert not loaded_by(module) & heavy


@pytest.mark.parametrize(
    "module", ["monitor.daemon.main", "monitor.supervisor.supervise", "monitor.cli", "alerts.deliver"]
)
def test_the_daemon_and_the_supervisor_load_no_torch(module: str) -> None:
    assert not loaded_by(module) & {"torch", "ultralytics", "numpy"}


def test_the_supervisor_stays_small() -> None:
    """It lives as long as the training, beside it."""
    heavy = {"httpx", "pydantic", "zmq", "starlette", "uvicorn", "sqlite3", "rich", "prometheus_client", "psutil"}
    assert not loaded_by("monitor.supervisor.supervise") & heavy


def test_help_loads_no_command() -> None:
    assert not loaded_by("monitor.cli") & {"pydantic", "httpx", "zmq", "starlette", "rich"}
