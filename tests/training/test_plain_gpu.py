"""A plain loop on a real card: what the hooks read travels late, and nothing of them waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.wire.messages import HookTrouble

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]
BATCHES = 200


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whoever waits for the device within it gets an exception."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def trained(probe: RecordingProbe | None) -> torch.Tensor:
    """The weights, and what whoever draws next would draw."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    given: Any = probe
    loop = watch(
        model,
        optimizer,
        epochs=1,
        batches_per_epoch=BATCHES,
        update_every=10 if probe else 0,
        measure_norm=bool(probe),
        connect=lambda rank: given,
    )
    for _ in range(BATCHES):
        batch = torch.rand(32, 64, device="cuda")
        with no_waiting():
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            if probe is not None:
                loop.batch(loss, epoch=1, batch_size=32, clip_norm=1.0, parts=(0.5,))
    torch.cuda.synchronize()
    loop.end()
    return torch.cat([*(p.detach().flatten() for p in model.parameters()), torch.rand(3, device="cuda")])


def test_nothing_waits_for_the_device_and_the_weights_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    probe = RecordingProbe(tmp_path)
    with_it, without = trained(probe), trained(None)
    assert not probe.of(HookTrouble)
    assert torch.equal(with_it, without)
    assert len(probe.batches) >= BATCHES - 64
    assert all(record.memory_reserved for record in probe.batches)
    ratios = [record.update_ratio for record in probe.batches if record.update_ratio is not None]
    assert len(ratios) >= 10
    assert all(1e-6 < ratio < 0.1 for ratio in ratios)
    norms = [record.grad_norm for record in probe.batches]
    assert all(norm is not None and norm > 0.0 for norm in norms)
