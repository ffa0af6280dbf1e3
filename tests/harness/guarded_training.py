"""A small training with any optimizer, guarded or not, some of whose batches are bad."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.harness.torch_names import scaler_on_cpu
from trainer_hooks import steps
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import Guard, watch_clipping
from trainer_hooks.wire.messages import HookTrouble

NAN = math.nan
Loss = Callable[[], torch.Tensor]


class Signed(torch.optim.SGD):
    """A user's optimizer: its own step around the one that it inherits. It wants a gradient of every parameter."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.add_(parameter.detach().sign(), alpha=1e-3)
        return super().step(closure)


class Sharp(torch.optim.Optimizer):
    """SAM as it is usually written: it moves the weights, has the closure evaluated there, moves them back, steps."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.05})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.05, momentum=0.9)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        moved = [(p, p.detach().clone()) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for parameter, _ in moved:
            parameter.add_(parameter.grad, alpha=0.05)
        with torch.enable_grad():
            loss = closure()
        for parameter, before in moved:
            if parameter.grad is not None:
                parameter.copy_(before)
        self.base_optimizer.step()
        return loss


MAKERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "SGD foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, foreach=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "own step": lambda p: Signed(p, lr=0.05, momentum=0.9),
    "closure": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4),
    "SAM": Sharp,
}
WITH_CLOSURE = ("closure", "LBFGS", "SAM")


class Training:
    """A small model and one optimizer. `bad` names the batches whose input is NaN."""

    def __init__(self, kind: str, *, guarded: bool, bad: frozenset[int] = frozenset(), **options: Any) -> None:
        torch.manual_seed(3)
        self.kind, self.bad, self.options = kind, bad, options
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        try:
            self.optimizer = MAKERS[kind](list(self.model.parameters()))
        except (RuntimeError, TypeError) as error:  # an older torch: no fused step on the CPU
            pytest.skip(str(error))
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.99) if options.get("before") else None
        self.scaler = enabled_scaler() if options.get("scaler") else None
        self.troubles: list[HookTrouble] = []
        self.losses: list[float] = []
        self.skipped: list[int] = []
        self.guard = Guard(self.model, self.optimizer, self.scaler, FailOpen(self.troubles.append)) if guarded else None
        watch_clipping()
        if options.get("after"):
            self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.99)

    def train(self, batches: int = 12) -> Training:
        torch.manual_seed(5)
        every = self.options.get("accumulate", 1)
        for number in range(batches):
            inputs = torch.randn(6, 4)
            if number in self.bad:
                inputs[0, 0] = NAN

            def evaluate(inputs: torch.Tensor = inputs) -> torch.Tensor:
                if self.kind in WITH_CLOSURE:
                    self.optimizer.zero_grad()
                loss = self.model(inputs).square().mean()
                (self.scaler.scale(loss) if self.scaler else loss).backward()
                return loss

            loss = None if self.kind in ("closure", "LBFGS") else evaluate()
            if (number + 1) % every == 0:
                self._step(number, loss, evaluate)
            self.losses.append(0.0 if loss is None else loss.item())
        return self

    def _step(self, number: int, loss: torch.Tensor | None, evaluate: Loss) -> None:
        if self.guard is not None:
            self.guard.enter(loss, None)
        if self.options.get("clip"):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif self.kind in WITH_CLOSURE:
            assert self.optimizer.step(evaluate) is not None
        else:
            self.optimizer.step()
        self.gradients = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
        if self.guard is not None:
            self.guard.leave()
            self.guard.settle()
            if self.guard.take().skipped_by:
                self.skipped.append(number)
        self.optimizer.zero_grad()
        if self.scheduler is not None:
            self.scheduler.step()

    def state(self) -> list[torch.Tensor]:
        found = [*self.model.state_dict().values()]
        for inner in steps.optimizers_within(self.optimizer):
            found += [v for s in inner.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
        return copy.deepcopy(found)


def enabled_scaler() -> Any:
    return scaler_on_cpu(init_scale=1024.0)


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
