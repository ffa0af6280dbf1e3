"""A small trainer with callbacks, and a training of it, held to the contract of integrations."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Trainer:
    """Knows nothing of us."""

    def __init__(self, folder: Path) -> None:
        import torch

        self.folder, self.rounds, self.batches = folder, 2, [torch.ones(3, 2)] * 4
        self.settings = {"lr": 0.01, "momentum": 0.0}
        self.callbacks: defaultdict[str, list[Callable[..., None]]] = defaultdict(list)
        self.model = torch.nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.round = self.batch = self.trained = 0

    def call(self, name: str, *arguments: Any) -> None:
        for callback in self.callbacks[name]:
            callback(self, *arguments)

    def fit(self) -> None:
        import torch

        self.call("fit_began")
        for number in range(self.rounds):
            self.round = number
            for at, batch in enumerate(self.batches):
                self.batch = at
                self.optimizer.zero_grad()
                loss = self.model(batch).square().mean()
                loss.backward()
                self.optimizer.step()
                self.trained += 1
                self.call("batch_ended", loss)
            torch.save(self.model.state_dict(), self.folder / "last.pt")
            self.call("saved", self.folder / "last.pt")
        self.call("fit_ended")


def train(connect: Callable[[Any], Any], folder: Path) -> tuple[int, int]:
    """Train to the end; the batches that were trained, and the hooks of ours that are left on the optimizer."""
    from tests.harness.torch_names import step_hooks

    trainer = Trainer(folder)
    importlib.import_module("trainer_hooks.integrations.rounds.watcher").Watcher(trainer, connect)
    trainer.fit()
    return trainer.trained, step_hooks(trainer.optimizer)
