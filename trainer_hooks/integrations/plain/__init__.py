"""A PyTorch loop that is written by hand: `watch(model, optimizer, ...)`, and one call a batch.

The names below are imported when they are asked for: `framework.py`, which the monitor reads, must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_hooks.integrations.plain.loop import Loop
    from trainer_hooks.integrations.plain.watching import watch

__all__ = ["Loop", "watch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer_hooks.integrations.plain import loop, watching  # noqa: PLC0415 - see the docstring

    return getattr(watching if name == "watch" else loop, name)
