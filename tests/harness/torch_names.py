"""What the tests need of torch, under the name that each release has for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def scaler_on_cpu(**options: Any) -> Any:
    """A gradient scaler that is on. Skips the test on releases that scale on CUDA alone, which are those before 2.3."""
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch scales on CUDA alone")
    return torch.amp.GradScaler("cpu", **options)


def dtype(name: str) -> Any:
    """The type of that name. Skips the test on releases that don't have it."""
    if not hasattr(torch, name):
        pytest.skip(f"this torch has no {name}")
    return getattr(torch, name)


def step_hooks(optimizer: Any) -> int:
    """How many hooks its steps have. Releases before 2.0 have none."""
    return sum(len(getattr(optimizer, f"_optimizer_step_{when}_hooks", ())) for when in ("pre", "post"))
