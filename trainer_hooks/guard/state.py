"""The state that a step leaves behind: looked at now and then, examined after a bad batch, restored where it can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from trainer_hooks.guard.average import GuardedAverage
from trainer_hooks.guard.report import Examination
from trainer_hooks.tensors import StatisticsBackup, any_nonfinite, dense, first_nonfinite, largest, unwrap

STATISTICS_EVERY_STEPS = 20  # one flat copy and scan costs 0.1 ms; once, statistics 20 steps old do no harm
# Of bad batches that come often, each would undo up to 20 steps, and the statistics fall behind the weights for good:
# with every fifth batch bad, a mAP50 was 0.18 in place of 0.42. Further apart than this, they lose a tenth on average.
EVERY_STEP_AFTER_BAD = 100
PENDING_MAX = 4  # measures on their way to the host; more only if nobody reads them any more
PARAMETERS_EVERY_STEPS = 500  # a scan costs 1 to 10 ms: below 0.02 % of 500 steps


class GuardedState:
    """Parameters, running statistics and moving average of one training. `acts=False`: nothing is restored."""

    def __init__(self, model: torch.nn.Module, average: GuardedAverage, *, acts: bool) -> None:
        self.pending: list[tuple[Callable[[float], bool], torch.Tensor]] = []
        self._model = unwrap(model)
        self._average = average
        self._acts = acts
        self._backup = StatisticsBackup(model)
        self.held: list[tuple[torch.Tensor, torch.Tensor]] = []  # parameters, and what they were
        self.good_steps = 0  # counted by the guard, which calls `look` at `look_at`
        self.look_at = STATISTICS_EVERY_STEPS
        self._closely_until = 0  # good steps up to which the statistics are backed up at every one
        self.refresh()

    def refresh(self) -> None:
        """Back up now, waiting for the device: the state is new, or was replaced from outside by a recovery."""
        self.pending.clear()
        measure = self._backup.begin()
        if measure is not None:
            self._backup.commit(float(measure))

    def heal(self, *, always: bool = False) -> str:
        """Put the running statistics back if they are non-finite (or `always`); the name of the first bad one.

        Waits for the device.
        """
        measure = self._backup.measure()
        dirty = measure is not None and not math.isfinite(float(measure))
        bad = self._backup.first_bad() if dirty else ""
        if self._acts and (dirty or always):
            self._backup.restore()
            self._closely_until = self.good_steps + EVERY_STEP_AFTER_BAD
            self.look_at = self.good_steps + 1
        return bad

    def is_damaged(self) -> bool:
        """True: a parameter is not finite. Waits for the device."""
        return any_nonfinite(self._model.parameters())

    def hold(self) -> None:
        """Keep the parameters, which are finite, in host memory, through a step that begins with a bad loss.

        A script that moves the weights by their gradients before it calls the optimizer (SAM) ruins them by itself.
        Not for one of several ranks: the others do not know of its loss.
        """
        alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        if alone:
            self.held = [(each, each.detach().to("cpu", copy=True)) for each in self._model.parameters()]

    def put_back(self) -> None:
        """The step is over: give the parameters that are not finite any more what they were."""
        held, self.held = self.held, []
        with torch.no_grad():
            if any_nonfinite(parameter for parameter, _ in held):
                for parameter, before in held:
                    parameter.copy_(before)

    def examine(self) -> Examination:
        """Look at everything, and restore what it can. Takes milliseconds."""
        buffer = self.heal()
        parameters = self._model.parameters()
        parameter = first_nonfinite(self._model.named_parameters()) if any_nonfinite(parameters) else ""
        average = self._average.heal(self._model, acts=self._acts)
        still = self._backup.first_bad() if buffer else ""
        return Examination(buffer, parameter, average, clean=not (parameter or average or still))

    def look(self) -> None:
        """A good step was taken that is one of every so many: start looking at what no bad batch has announced."""
        steps = self.good_steps
        rests = [every - steps % every for every in (STATISTICS_EVERY_STEPS, PARAMETERS_EVERY_STEPS)]
        self.look_at = steps + (1 if steps < self._closely_until else min(rests))
        if len(self.pending) >= PENDING_MAX:
            return
        closely = steps <= self._closely_until and not self._backup.waits
        if closely or steps % STATISTICS_EVERY_STEPS == 0:
            statistics = self._backup.begin()
            if statistics is not None:
                self.pending.append((self._backup.commit, statistics))
        if steps % PARAMETERS_EVERY_STEPS == 0:
            parameters = largest(self._model.parameters())
            if parameters is not None:
                self.pending.append((math.isfinite, parameters))

    def resolve(self, values: Sequence[float]) -> bool:
        """Take in what the oldest pending measures turned out to be. False: something is non-finite."""
        pending, self.pending = self.pending[: len(values)], self.pending[len(values) :]
        accepted = [accept(value) for (accept, _), value in zip(pending, values, strict=True)]  # each gets its value
        return all(accepted)

    def bad_gradient(self, parameters: Sequence[torch.Tensor]) -> str:
        """Whose gradient is the first non-finite one of the backward pass, which starts at the last layer."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        named = [(names.get(id(p), "another parameter"), dense(p.grad)) for p in parameters if p.grad is not None]
        return first_nonfinite(reversed(named))
