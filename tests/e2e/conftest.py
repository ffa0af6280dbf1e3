"""Fixtures of the end-to-end tests: real command line, real daemon, real supervisor; one home a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.night_run import fresh_home
from tests.harness.webhook import Post


@pytest.fixture
def home() -> Iterator[Path]:
    """Where everything of a user lies; whatever was started in it is ended."""
    with fresh_home() as folder:
        yield folder


@pytest.fixture
def post() -> Iterator[Post]:
    """Who hears of the alerts."""
    with HTTPServer(port=0) as server:
        yield Post(server)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of epoch-<n>.pt, small real torch checkpoints in the shape that trainers save; and poisoned.pt."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    for epoch in range(1, 13):
        torch.manual_seed(epoch)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        model(torch.rand(2, 3, 8, 8)).sum().backward()
        optimizer.step()
        state = {"epoch": epoch - 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, folder / f"epoch-{epoch}.pt")
    state["model"]["1.running_var"].fill_(float("nan"))
    torch.save(state, folder / "poisoned.pt")
    return folder
