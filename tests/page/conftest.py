"""One daemon with two runs, one Chromium and one context a theme, for every test of the page."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitor.daemon.api.page_files import FOLDER
from tests.harness.browser import AXE
from tests.harness.night_run import fresh_home
from tests.harness.page_runs import healthy_batches, lay_down_night, live_training
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = {
    "chromium": CHROMIUM is not None,
    "the Python package playwright": importlib.util.find_spec("playwright") is not None,
    "the built page and its packages (make page)": (FOLDER / "index.html").exists() and AXE.exists(),
}
MISSING = [what for what, there in NEEDED.items() if not there]


@pytest.fixture(scope="module")
def _everything_is_here() -> None:
    """Skip on a laptop, fail in CI."""
    if MISSING and os.environ.get("TRAINWARDEN_CI"):
        pytest.fail(f"not here: {', '.join(MISSING)}")
    if MISSING:
        pytest.skip(f"not here: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon(home: Path, _everything_is_here: None) -> Iterator[DaemonProcess]:
    lay_down_night(home)
    with DaemonProcess(home) as started:
        yield started


@pytest.fixture(scope="module")
def trainer(daemon: DaemonProcess) -> Iterator[FakeTrainer]:
    """Of the live run, with a few hundred batches behind it."""
    with live_training(daemon) as started:
        healthy_batches(started, 300)
        until("the batches arrived", lambda: daemon.json("/api/v1/runs/live")["summary"]["batches"] == 300)
        yield started


@pytest.fixture(scope="module")
def browser(_everything_is_here: None) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
