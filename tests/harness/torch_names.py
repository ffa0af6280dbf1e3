"""What the tests need of torch, under the name that each release has for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def scaler_on_cpu(*, enabled: bool = True, **options: Any) -> Any:
    """A gradient scaler. Skips the test where it is on and the release, one before 2.3, scales on CUDA alone."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cpu", enabled=enabled, **options)
    if enabled:
        pytest.skip("this torch scales on CUDA alone")
    return torch.cuda.amp.GradScaler(enabled=False)


def dtype(name: str) -> Any:
    """The type of that name. Skips the test on releases that don't have it."""
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    return getattr(torch, name)


def step_hooks(optimizer: Any) -> int:
    """How many hooks its steps have. Releases before 2.0 have none."""
    return sum(len(getattr(optimizer, f"_optimizer_step_{when}_hooks", ())) for when in ("pre", "post"))
