"""Ultralytics YOLO, 8.3.213 and newer: `watch(model)` in a script, or nothing at all under `trainwarden run`."""

from trainer_hooks.integrations.ultralytics.attachment import attach, detach, watch

__all__ = ["attach", "detach", "watch"]
