"""A plain training loop, as anybody writes one, watched as anybody would watch it, with one fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional

from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.live.parts import samples
from tests.bench.detection.live.parts.injections import FAULTS, Injection, Target
from tests.bench.detection.live.parts.networks import Chars, Cnn, Mlp
from tests.bench.detection.live.parts.sink import FileProbe
from trainer_hooks.integrations.plain import watch

EPOCH_BATCHES = 200
WARMUP_BATCHES = 50
CLIP_NORM = 10.0
VALIDATION_BATCHES = 4

Network = Mlp | Cnn | Chars


@dataclass
class Parts:
    """What is trained, by what, on what."""

    model: Network
    optimizer: torch.optim.Optimizer
    batches: Iterator[samples.Batch]
    validation: list[samples.Batch]

    @property
    def target(self) -> Target:
        return Target(self.model, self.optimizer, self.model.entry, self.model.middle)


class Training:
    """One experiment at work."""

    def __init__(self, experiment: Experiment, probe: FileProbe, checkpoint: Path) -> None:
        torch.manual_seed(experiment.seed)
        self.experiment = experiment
        self.checkpoint = checkpoint  # rewritten in place
        self.parts = parts = build(experiment)
        self.rate = float(parts.optimizer.param_groups[0]["lr"])
        self.injection: Injection = FAULTS[experiment.fault](experiment, parts.target)
        self.watched = watch(
            parts.model,
            parts.optimizer,
            epochs=-(-experiment.batches // EPOCH_BATCHES),
            batches_per_epoch=EPOCH_BATCHES,
            measure_norm=False,  # clip_grad_norm_ gives it
            connect=lambda _: cast("Any", probe),
        )
        self._ended_s = time.monotonic()

    def run(self) -> None:
        """Every batch, with a validation and a checkpoint after each epoch."""
        for at in range(self.experiment.batches):
            self._batch(at)
            if (at + 1) % EPOCH_BATCHES == 0:
                self._end_epoch(at // EPOCH_BATCHES + 1)
        self.watched.end()

    def _batch(self, at: int) -> None:
        x, labels = next(self.parts.batches)
        began_s = time.monotonic()
        self.injection.begin(at)
        self._schedule(at)
        labels = self.injection.labels(labels)
        if not self.injection.keeps_gradients:
            self.parts.optimizer.zero_grad()
        loss = self.injection.loss(self._loss(x, labels))
        if loss.requires_grad:
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parts.model.parameters(), CLIP_NORM)
        self.parts.optimizer.step()
        self._keep_pace(began_s)
        self.injection.wait(time.monotonic() - began_s)
        self.watched.batch(
            loss,
            epoch=at // EPOCH_BATCHES + 1,
            grad_norm=norm,
            batch_size=len(x),
            sequence_length=x.shape[1] if self.experiment.training == "chars" else None,
            clip_norm=CLIP_NORM,
            data_wait_s=began_s - self._ended_s,
        )
        self._ended_s = time.monotonic()

    def _keep_pace(self, began_s: float) -> None:
        """The work of a batch takes a period, as on a device that nobody else uses."""
        if self.experiment.period_s:
            time.sleep(max(0.0, began_s + self.experiment.period_s - time.monotonic()))

    def _schedule(self, at: int) -> None:
        """Warm the learning rate up, linearly; after that it stands."""
        if at <= WARMUP_BATCHES:
            for group in self.parts.optimizer.param_groups:
                group["lr"] = self.rate * max(at, 1) / WARMUP_BATCHES

    def _loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        device = self.experiment.device
        with torch.autocast(device, torch.bfloat16, enabled=self.experiment.precision == "bf16"):
            scores = self.parts.model(x.to(device))
        return functional.cross_entropy(scores.float(), labels.to(device))

    def _end_epoch(self, epoch: int) -> None:
        with self.watched.phase("validate"), torch.no_grad():
            self.parts.model.eval()
            for x, labels in self.parts.validation:
                self._loss(x, labels)
            self.parts.model.train()
        with self.watched.phase("save"):
            model, optimizer = self.parts.model.state_dict(), self.parts.optimizer.state_dict()
            torch.save({"epoch": epoch - 1, "model": model, "optimizer": optimizer}, self.checkpoint)
            self.watched.saved(self.checkpoint, epoch=epoch)
        self._ended_s = time.monotonic()


def build(experiment: Experiment) -> Parts:
    """The parts of a plain training. Raises KeyError where its name is none of them."""
    networks: dict[str, Callable[[], Network]] = {"mlp": Mlp, "cnn": Cnn, "chars": Chars}
    model: Network = networks[experiment.training]().to(experiment.device)
    optimizer = (
        torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        if experiment.training == "chars"
        else torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    )
    batches = _batches(experiment)
    validation = [next(batches) for _ in range(VALIDATION_BATCHES)]
    return Parts(model, optimizer, batches, validation)


def _batches(experiment: Experiment) -> Iterator[samples.Batch]:
    if experiment.training == "chars":
        return samples.text(experiment.seed, variable=experiment.lengths == "variable")
    return samples.clusters(experiment.seed) if experiment.training == "mlp" else samples.pictures(experiment.seed)
