"""A new user: one command sets up a receiver, the next one trains, and the message arrives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from _trainwarden import console_command
from tests.harness.real_daemon import until

pytest.importorskip("torch")

TRAINING = """
import torch
from trainer_hooks.integrations.plain import watch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
with watch(model, optimizer, epochs=1, batches_per_epoch=30) as loop:
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(torch.ones(8, 4)) ** 2).mean()
        loss.backward()
        optimizer.step()
        loop.batch(loss.item(), epoch=1)
"""
FIVE_MINUTES_S = 300.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A state home; the daemon that the run starts is ended afterwards."""
    yield tmp_path
    endpoint = tmp_path / "run" / "daemon.json"
    if endpoint.exists():
        os.kill(json.loads(endpoint.read_text())["pid"], signal.SIGTERM)


def test_from_setup_to_the_message_that_a_training_finished_in_less_than_five_minutes(
    home: Path, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/phone").respond_with_data("", 204)
    began_s = time.monotonic()
    environment = {**os.environ, "TRAINWARDEN_HOME": str(home), "OMP_NUM_THREADS": "1"}
    (home / "train.py").write_text(TRAINING)

    def trainwarden(*arguments: str, typed: str = "") -> str:
        done = subprocess.run(
            console_command(*arguments), env=environment, cwd=home, input=typed, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    answers = f"webhook\nphone\n{httpserver.url_for('/phone')}\n"
    assert "the test message was taken" in trainwarden("alerts", "setup", typed=answers)
    trainwarden("run", "--run", "first", "--port", "0", "--", sys.executable, "train.py")

    def titles() -> list[str]:
        return [request.get_json()["data"]["title"] for request, _ in httpserver.log]

    until("the last message arrives", lambda: "first: training finished" in titles())
    assert titles() == ["Test message of trainwarden", "first: training finished"]
    assert time.monotonic() - began_s < FIVE_MINUTES_S
