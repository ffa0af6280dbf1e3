"""A small model whose loop is written by hand and watched, with a probe that remembers everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.integrations.plain.loop import Loop
from trainer_hooks.wire.messages import (
    BatchEnded,
    SettingChanged,
)

BATCHES = 60


class Bench:
    """A small model and its optimizer, watched."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(1)
        self.probe = RecordingProbe(folder)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        make: Callable[[Any], torch.optim.Optimizer] = options.pop("optimizer", lambda p: torch.optim.SGD(p, lr=0.01))
        self.optimizer = make(self.model.parameters())
        scheduler: Callable[[Any], Any] | None = options.pop("scheduler", None)
        self.scheduler: Any = scheduler(self.optimizer) if scheduler else None
        self.loop: Loop = watch(
            self.model,
            self.optimizer,
            epochs=3,
            batches_per_epoch=BATCHES,
            connect=lambda name: self.probe,
            **options,
        )

    def step(self, epoch: int = 1, *, bad: bool = False, **given: Any) -> None:
        self.optimizer.zero_grad()
        loss = self.model(torch.rand(2, 4)).square().mean()
        if bad:
            loss = loss * math.nan
        loss.backward()
        self.optimizer.step()
        self.loop.batch(loss, epoch=epoch, batch_size=given.pop("batch_size", 2), **given)

    def train(self, epochs: int = 3, move: Callable[[int], None] | None = None) -> None:
        for number in range(epochs * BATCHES):
            self.step(number // BATCHES + 1)
            if move is not None:
                move(number)

    @property
    def last(self) -> BatchEnded:
        return self.probe.batches[-1]

    @property
    def unexplained(self) -> list[SettingChanged]:
        return [change for change in self.probe.of(SettingChanged) if not change.reason]
