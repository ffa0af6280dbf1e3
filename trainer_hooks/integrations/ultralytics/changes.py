"""Tells which settings of a running training have changed since the batch before, and why where the trainer shows it."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import Any

import torch

from trainer_hooks.integrations.ultralytics import signals
from trainer_hooks.restore import group_names, readings
from trainer_hooks.wire.messages import SettingChanged

CHANGES_MAX = 50  # events for one setting in one training: a user's own scheduler changes its rate every batch


class SettingsWatch:
    """Compares the settings of one batch with those of the batch before."""

    def __init__(self) -> None:
        self._before: dict[str, object] = {}
        self._told: dict[str, int] = {}

    def changes(self, trainer: Any, *, batch: int, clip_norm: float | None, warming: bool) -> list[SettingChanged]:  # noqa: ANN401
        """What is different from the last call, as events."""
        now = _settings(trainer, clip_norm, warming)
        before, self._before = self._before, now
        if not before:
            return []
        found = []
        for name, value in now.items():
            old = before.get(name)
            if old is None or value is None or value == old:
                continue
            self._told[name] = self._told.get(name, 0) + 1
            if self._told[name] <= CHANGES_MAX:
                reason = _reason(name, trainer, now, before)
                found.append(
                    SettingChanged(time.time(), trainer.epoch + 1, batch, name, str(old), str(value), reason)
                )
        return found


def _settings(trainer: Any, clip_norm: float | None, warming: bool) -> dict[str, object]:  # noqa: ANN401
    settings: dict[str, object] = {
        "warm-up": "on" if warming else "off",
        "epoch": trainer.epoch,  # not told; rates may change with it
        "batch_size": trainer.batch_size,
        "accumulate": getattr(trainer, "accumulate", None),
        "epochs": trainer.epochs,
        "image_size": trainer.args.imgsz,
        "clip_norm": clip_norm,
        "mosaic": signals.mixes_images(trainer),
    }
    for name, reading in zip(group_names(trainer.optimizer), readings(trainer.optimizer), strict=True):
        settings[f"weight_decay/{name}"] = reading.weight_decay
        if not warming:
            settings[f"momentum/{name}"] = reading.momentum
            settings[f"learning_rate/{name}"] = (trainer.epoch, reading.rate)
    return settings
