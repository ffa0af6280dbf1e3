"""A loop that is written by hand, held to the contract of integrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

EPOCHS, BATCHES = 2, 4


def train(connect: Callable[[Any], Any], folder: Path) -> tuple[int, int]:
    """Train to the end; the batches that were trained, and the hooks of ours that are left on the optimizer."""
    import torch

    from tests.harness.torch_names import step_hooks
    from trainer_hooks.integrations.plain import watch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loop = watch(model, optimizer, epochs=EPOCHS, batches_per_epoch=BATCHES, connect=connect)
    trained = 0
    for epoch in range(1, EPOCHS + 1):
        for _ in range(BATCHES):
            optimizer.zero_grad()
            loss = model(torch.ones(3, 2)).square().mean()
            loss.backward()
            optimizer.step()
            loop.batch(loss, epoch=epoch, batch_size=3)
            trained += 1
        with loop.phase("save"):
            torch.save(model.state_dict(), folder / "last.pt")
            loop.saved(folder / "last.pt", epoch=epoch)
    loop.end()
    return trained, step_hooks(optimizer) + ("step" in vars(optimizer))
