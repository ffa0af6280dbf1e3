"""The settings of a plan in a loop that sets its own: in force while a step is taken, and not seen between two steps.

So a schedule of the loop's own goes on from the values that it has set itself, and the plan holds all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from trainer_hooks.parameter_groups import Reading, group_names
from trainer_hooks.tensors import gradients, parameters_of, total_norm
from trainer_hooks.wire.plan import Plan

Each = TypeVar("Each")
TINY = 1e-6  # as in torch's own clipping: a norm of 0 divides nothing


class PlanError(Exception):
    """The plan does not fit this loop. Says where, which value was found and which was expected."""


class PlanInForce:
    """Scales the rate of each group in each step, as the plan's rate is to the base rate that the training began with.

    The loop reports its `clip_norm` with each batch. One that does not clip is not clipped, and a step that makes its
    gradients itself is not clipped either.
    """

    def __init__(self, plan: Plan, optimizer: Any, base_rates: Mapping[str, float]) -> None:
        """`base_rates`: of each group when the training began. Raises PlanError."""
        groups = plan.settings.groups
        if (planned := [group.name for group in groups]) != list(base_rates):
            began = ", ".join(base_rates)
            raise PlanError(f"parameter groups were {began} at the start: the plan is for {', '.join(planned)}")
        known = {w.name: w.base_rate / base for w in groups if (base := base_rates[w.name])}
        if not known:
            raise PlanError("every rate was 0 when the training began: nothing says what its share is")
        self._least = min(known.values())  # of groups that were added since, or whose rate was 0
        self._names = group_names(optimizer)
        self._shares = [known.get(name, self._least) for name in self._names]
        self._clip = plan.settings.clip_norm
        self._held: list[tuple[dict[str, Any], Any, Any]] = []  # group, the loop's own rate, ours

    def before_step(self, optimizer: Any, clip_norm: float | None) -> None:
        """A step is about to be taken; the loop clips to `clip_norm`."""
        self.after_step()  # the step before raised
        for group, share in self._with_shares(optimizer.param_groups):
            own = group["lr"]
            group["lr"] = own * share
            self._held.append((group, own, group["lr"]))
        if self.clip_norm(clip_norm) != clip_norm and getattr(optimizer, "grad_scale", None) is None:
            _clip(parameters_of(optimizer), self._clip)

    def after_step(self) -> None:
        """It was taken: the loop meets its own values again."""
        while self._held:
            group, own, ours = self._held.pop()
            if group["lr"] is ours:
                group["lr"] = own

    def _with_shares(self, given: Iterable[Each]) -> Iterator[tuple[Each, float]]:
        for index, each in enumerate(given):
            yield each, self._shares[index] if index < len(self._shares) else self._least

    def clip_norm(self, own: float | None) -> float | None:
        """What gradients are clipped to, where the loop clips to `own`; None: it does not clip."""
        return None if own is None else min(own, self._clip)

    def readings(self, own: tuple[Reading, ...]) -> tuple[Reading, ...]:
        """What a step uses where the groups of the loop read so."""
        return tuple(each._replace(rate=each.rate * share) for each, share in self._with_shares(own))

    def read_back(self, optimizer: Any) -> dict[str, str]:
        """The rate that the next step uses, by group."""
        groups = zip(self._names, optimizer.param_groups, self._shares, strict=False)
        return {f"learning_rate/{name}": format(float(group["lr"]) * share, ".6g") for name, group, share in groups}


def _clip(parameters: list[torch.Tensor], limit: float) -> None:
    norm, grads = total_norm(parameters), gradients(parameters)
    if norm is None or not grads:
        return
    share = (limit / (norm + TINY)).clamp(max=1.0)
    with torch.no_grad():
        for grad in grads:
            grad.mul_(share.to(grad.device))
