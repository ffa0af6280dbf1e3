"""Keeps a non-finite batch from doing lasting damage. Knows torch, no framework; an integration binds it to a trainer.

`judge.py` decides when the optimizer's step is called, `clipping.py` notes the gradient norm that torch's own clipping
finds on the way, `state.py` examines and restores, `average.py` keeps the moving average from a bad state. Between
backward and step nothing that the training's code can look at is changed.
"""

from trainer_hooks.guard.clipping import watch_clipping
from trainer_hooks.guard.guard import Guard
from trainer_hooks.guard.report import Examination, StepReport, look_at
from trainer_hooks.guard.state import STATISTICS_EVERY_STEPS

__all__ = ["STATISTICS_EVERY_STEPS", "Examination", "Guard", "StepReport", "look_at", "watch_clipping"]
