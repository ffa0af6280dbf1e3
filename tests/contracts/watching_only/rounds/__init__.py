"""Rounds, a trainer with callbacks: `attach(trainer)` before `trainer.fit()`. Trainings are watched, never changed."""

from __future__ import annotations

from typing import Any


def attach(trainer: Any) -> None:
    """Watch every training of this trainer. Torch is loaded here and not before."""
    from .watcher import Watcher

    Watcher(trainer)
