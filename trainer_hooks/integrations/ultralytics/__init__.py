"""Ultralytics YOLO, 8.3.213 and newer: `watch(model)` in a script, or nothing at all under `trainwarden run`.

The names below are imported when they are asked for: `framework.py`, which the monitor reads, must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_hooks.integrations.ultralytics.attachment import attach, detach, watch

__all__ = ["attach", "detach", "watch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer_hooks.integrations.ultralytics import attachment  # noqa: PLC0415 - see the docstring

    return getattr(attachment, name)
