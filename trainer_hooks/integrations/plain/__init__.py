"""A PyTorch loop that is written by hand: `watch(model, optimizer, ...)`, and one call a batch."""

from trainer_hooks.integrations.plain.loop import Loop, watch

__all__ = ["Loop", "watch"]
