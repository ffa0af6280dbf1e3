"""Fixtures of the end-to-end tests: real command line, real daemon, real shim; a home of its own for each test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.night_run import Daemon, environment_of_home


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, since sockets lie below it; whatever daemon was started there is ended."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    yield folder
    daemon = Daemon(folder)
    if (pid := daemon.pid()) is not None:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """What a user's shell would hold, with the state below `home`."""
    return environment_of_home(home)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of epoch-<n>.pt: small, real and sound torch checkpoints in the shape that trainers save."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    for epoch in range(1, 9):
        torch.manual_seed(epoch)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        model(torch.rand(2, 3, 8, 8)).sum().backward()
        optimizer.step()
        state = {"epoch": epoch - 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, folder / f"epoch-{epoch}.pt")
    return folder
