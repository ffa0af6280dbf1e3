from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.real_daemon import DaemonProcess


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon in a state home of its own."""
    with DaemonProcess(tmp_path) as started:
        yield started
