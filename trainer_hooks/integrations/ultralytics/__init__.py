"""Ultralytics YOLO, 8.3.213 and newer: `watch(model)` in a script, or nothing at all under `trainwarden run`."""

from trainer_hooks.integrations.ultralytics.attach import attach, watch

__all__ = ["attach", "watch"]
