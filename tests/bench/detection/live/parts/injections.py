"""Faults for a real training, put in through torch's own hooks, so that the training's code knows nothing of them.

A part of the live trainings' child process, which imports torch; the monitor only starts it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from tests.bench.detection.live.experiment import Experiment

USUAL_BATCHES = 50  # whose median is what a batch takes


@dataclass
class Target:
    """What a fault may touch: the model, its optimizer, and two modules that give activations."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    entry: torch.nn.Module  # its output still has the samples apart: a sample spoilt there is a spoilt input
    middle: torch.nn.Module


class Injection:
    """A fault that is never on. `begin` comes before each batch; the other methods leave what they get as it is."""

    def __init__(self, experiment: Experiment, target: Target) -> None:
        self.experiment = experiment
        self.target = target
        self.on = False
        self.random = torch.Generator().manual_seed(experiment.seed)
        self.install()

    def install(self) -> None:
        """Put torch hooks in place; they act while `on`."""

    def begin(self, at: int) -> None:
        """Batch `at` begins."""
        before, self.on = self.on, self.experiment.active(at)
        if self.on and not before:
            self.start()

    def start(self) -> None:
        """The fault comes on."""

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        """In place of the batch's labels; its first dimension are samples."""
        return labels

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        """In place of the loss."""
        return loss

    @property
    def keeps_gradients(self) -> bool:
        """True: the loop's zero_grad is missing."""
        return False

    def wait(self, took_s: float) -> None:
        """The batch's work is done and took so long."""


class SpoiltSample(Injection):
    """One activation of one sample is NaN."""

    value = math.nan

    def install(self) -> None:
        self.place().register_forward_hook(self._spoil)

    def place(self) -> torch.nn.Module:
        return self.target.entry

    def _spoil(self, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        del inputs
        if not self.on or not module.training:
            return output
        spoilt = output.clone()
        spoilt[0].view(-1)[0] = self.value
        return spoilt


class InfiniteActivation(SpoiltSample):
    """One activation in the middle of the network is infinite."""

    value = math.inf

    def place(self) -> torch.nn.Module:
        return self.target.middle


class ChangedGradients(Injection):
    """Every gradient is multiplied by `strength` as it is computed."""

    def install(self) -> None:
        for parameter in self.target.model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(self._change)

    def _change(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self.experiment.strength if self.on else gradient


class NanGradient(Injection):
    """One element of one gradient is NaN."""

    def install(self) -> None:
        next(p for p in self.target.model.parameters() if p.requires_grad).register_hook(self._spoil)

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        if not self.on:
            return gradient
        spoilt = gradient.clone()
        spoilt.view(-1)[0] = math.nan
        return spoilt


class ChangedRate(Injection):
    """Every step uses `strength` times the learning rate that the schedule set."""

    def install(self) -> None:
        self._set: list[float] = []
        self.target.optimizer.register_step_pre_hook(self._raise)
        self.target.optimizer.register_step_post_hook(self._restore)

    def _raise(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self._set = [group["lr"] for group in optimizer.param_groups]
        if self.on:
            for group in optimizer.param_groups:
                group["lr"] *= self.experiment.strength

    def _restore(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group, rate in zip(optimizer.param_groups, self._set, strict=True):
            group["lr"] = rate


class ShuffledLabels(Injection):
    """`strength` of the samples have the label of another one."""

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        if not self.on:
            return labels
        count = max(2, round(self.experiment.strength * len(labels)))
        chosen = torch.randperm(len(labels), generator=self.random)[:count].to(labels.device)
        shuffled = labels.clone()
        shuffled[chosen] = labels[chosen.roll(1)]
        return shuffled


class FlippedLoss(Injection):
    """The loss has the wrong sign: training makes the model worse."""

    def loss(self, loss: torch.Tensor) -> torch.Tensor:
        return -loss if self.on else loss


class KeptGradients(Injection):
    """zero_grad is missing: every step takes the sum of all gradients since."""

    @property
    def keeps_gradients(self) -> bool:
        return self.on


class FrozenWeights(Injection):
    """No parameter has a gradient any more: nothing is learnt."""

    def start(self) -> None:
        for parameter in self.target.model.parameters():
            parameter.requires_grad_(False)


class FlippedBit(Injection):
    """Bit `strength` of the largest weight is flipped, once, as a silent hardware error does it.

    The largest: half of the others feed a unit that a ReLU then switches off, and nothing shows.
    """

    def start(self) -> None:
        weights = next(p for p in self.target.middle.parameters() if p.ndim > 1).detach().view(-1)
        place = int(weights.argmax())
        bits = weights[place : place + 1].view(torch.int32)
        bits ^= 1 << int(self.experiment.strength)


class PoisonedNorm(Injection):
    """The running variance of the first normalisation layer is NaN: training goes on well, evaluation does not."""

    def start(self) -> None:
        layers = (m for m in self.target.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
        variance = next(layers).running_var
        if variance is not None:
            variance[0] = math.nan


class Slower(Injection):
    """Every batch takes `strength` of the usual time longer."""

    def install(self) -> None:
        self._times: list[float] = []

    def wait(self, took_s: float) -> None:
        if len(self._times) < USUAL_BATCHES:
            self._times.append(took_s)
        elif self.on:
            time.sleep(self.experiment.strength * median(self._times))


class Stopped(Injection):
    """The training stands still for `strength` seconds, in the middle of a batch."""

    def wait(self, took_s: float) -> None:
        del took_s
        if self.on:
            time.sleep(self.experiment.strength)


class HeldMemory(Injection):
    """Every batch takes `strength` of the device's memory and keeps it: a leak, or a step if it lasts one batch."""

    def install(self) -> None:
        self._held: list[torch.Tensor] = []

    def wait(self, took_s: float) -> None:
        del took_s
        if self.on:
            capacity = torch.cuda.get_device_properties(0).total_memory
            self._held.append(torch.zeros(int(self.experiment.strength * capacity), dtype=torch.uint8, device="cuda"))


FAULTS: dict[str, Callable[[Experiment, Target], Injection]] = {
    "": Injection,
    "NaN in one sample": SpoiltSample,
    "infinite activation": InfiniteActivation,
    "NaN in one gradient element": NanGradient,
    "gradients multiplied": ChangedGradients,
    "learning rate multiplied": ChangedRate,
    "labels shuffled": ShuffledLabels,
    "loss sign flipped": FlippedLoss,
    "zero_grad missing": KeptGradients,
    "weights frozen": FrozenWeights,
    "bit flip in an exponent": FlippedBit,
    "BatchNorm poisoned": PoisonedNorm,
    "slower": Slower,
    "hang": Stopped,
    "memory held": HeldMemory,
}
