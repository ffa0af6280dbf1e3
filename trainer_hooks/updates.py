"""How far one optimizer step moves the weights: |change| / |weights| of a few tensors, once in many steps.

A healthy step is somewhere near 1e-3 (the rule of thumb of Stanford's CS231n, "Ratio of weights:updates"); what matters
is that it neither falls to nothing nor jumps. Only reads, and never waits for the device: the ratio stays a
tensor until the batch's other scalars travel to the host.
"""

from __future__ import annotations

import os
from typing import Any

import torch

ENV_EVERY = "TRAINWARDEN_UPDATE_EVERY"  # optimizer steps between two samples; 0: none are taken
EVERY_STEPS = 500  # a sample costs about 0.3 ms on a CPU: below 0.1 % of 500 steps that take 1 ms each
TENSORS_MAX = 8
VALUES_MAX = 4096  # of one tensor, its first rows
ROW_VALUES_MAX = 16 * VALUES_MAX  # tensors with longer rows are passed over


def steps_between() -> int:
    """What the environment asks for; EVERY_STEPS where it does not hold a number."""
    text = os.environ.get(ENV_EVERY, "")
    return int(text) if text.isascii() and text.isdecimal() else EVERY_STEPS


class UpdateSampler:
    """Counts down at each step of one optimizer; `ratio` is that of the step that was measured.

    Whoever takes a step lowers `steps_left` by one, and calls `before` and `after` around the step where it is 0 then.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, every_steps: int = EVERY_STEPS) -> None:
        self._optimizer = optimizer
        self._every = every_steps
        self.steps_left = every_steps
        self._live: list[torch.Tensor] = []
        self._before: list[torch.Tensor] = []
        self.ratio: torch.Tensor | None = None  # of the last such step, 0-dim, until somebody has taken it

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """The training steps with this one now."""
        self._optimizer, self._live, self._before = optimizer, [], []

    def before(self) -> None:
        """The step that is measured is about to be taken."""
        self.steps_left = self._every
        self._live = sample(self._optimizer)
        capturing = bool(self._live) and self._live[0].is_cuda and torch.cuda.is_current_stream_capturing()
        self._before = [] if capturing else [tensor.float().clone() for tensor in self._live]

    def after(self) -> None:
        """The step was taken. Does nothing for one that is not measured."""
        if not self._before:
            return
        before, self._before = self._before, []
        live, self._live = [tensor.float() for tensor in self._live], []
        with torch.no_grad():
            moved = torch.stack(torch._foreach_norm(torch._foreach_sub(live, before)))
            self.ratio = torch.linalg.vector_norm(moved) / torch.linalg.vector_norm(
                torch.stack(torch._foreach_norm(before))
            )


def sample(optimizer: Any) -> list[torch.Tensor]:
    """The first rows of a few weights of one device, spread over the model. Views: they change with the weights.

    Sharded tensors are passed over: to measure one, every rank would have to take part.
    """
    listed = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None and _is_plain(p)]
    if not listed:
        return []
    stride = max(1, len(listed) // TENSORS_MAX)
    device = listed[0].device
    chosen = [p for p in listed[::stride] if p.device == device][:TENSORS_MAX]
    return [p.detach().narrow(0, 0, min(p.shape[0], max(1, VALUES_MAX * p.shape[0] // p.numel()))) for p in chosen]


def _is_plain(parameter: torch.Tensor) -> bool:
    plain = type(parameter) in (torch.nn.Parameter, torch.Tensor) and parameter.layout == torch.strided
    small_rows = parameter.ndim > 1 and 0 < parameter.numel() <= ROW_VALUES_MAX * parameter.shape[0]
    return plain and small_rows and parameter.is_floating_point()
