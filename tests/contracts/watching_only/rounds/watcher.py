"""Where Rounds keeps what is recorded. Whatever goes wrong here is counted and switched off, and training continues."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import StepReport
from trainer_hooks.probe import open_training
from trainer_hooks.recorder.assess import Counted, WatchingAssessor
from trainer_hooks.recorder.batch import BatchContents
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.recorder.started import TrainingFacts, training_started
from trainer_hooks.spool import Save
from trainer_hooks.trainings import TrainingName, call_site, digest_of
from trainer_hooks.updates import UpdateSampler
from trainer_hooks.wire.messages import Order

from .framework import FRAMEWORK

_log = logging.getLogger("trainwarden")


class Watcher:
    """The callbacks of one trainer."""

    def __init__(self, trainer: Any, connect: Callable[[TrainingName], ProbeLike] = open_training) -> None:
        self._connect = connect
        self._recorder: Recorder | None = None
        self._fail_open = FailOpen(lambda _: None)
        for name in ("fit_began", "batch_ended", "saved", "fit_ended"):
            trainer.callbacks[name].append(getattr(self, name))

    def fit_began(self, trainer: Any) -> None:
        """A training of its own begins with each `fit`."""
        try:
            self._recorder = self._start(trainer)
        except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
            _log.warning("this training is not watched: %s: %s", type(error).__name__, error)

    def batch_ended(self, trainer: Any, loss: torch.Tensor) -> None:
        if self._recorder is not None:
            self._fail_open.run("batch", self._ended, self._recorder, trainer, loss)
            self._fail_open.run("order", self._refuse, self._recorder)

    def saved(self, trainer: Any, path: Path) -> None:
        if self._recorder is not None:
            self._fail_open.run("checkpoint", self._saved, self._recorder, path)

    def fit_ended(self, trainer: Any) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._fail_open.run("end", recorder.ended, "finished", "", recorder.epoch, {})

    # --- inside ------------------------------------------------------------------------------------------------------

    def _start(self, trainer: Any) -> Recorder:
        settings = {name: str(value) for name, value in trainer.settings.items()}
        facts = TrainingFacts(
            framework=FRAMEWORK.name,
            settings=settings,
            epochs=trainer.rounds,
            batches_per_epoch=len(trainer.batches),
            save_dir=str(trainer.folder),
            arguments_digest=digest_of(settings),
        )
        probe = self._connect(TrainingName(call_site(), facts.arguments_digest))
        facts = dataclasses.replace(facts, ordinal=probe.identity.ordinal)
        device = next(trainer.model.parameters()).device
        probe.event(training_started(facts, trainer.optimizer, device, probe.identity))
        self._fail_open = FailOpen(probe.event)
        counted = Counted()
        recorder = Recorder(
            probe, self._fail_open, trainer.optimizer, device, WatchingAssessor(counted), counted,
            updates=UpdateSampler(trainer.optimizer, 0),
        )  # fmt: skip
        recorder.batches_per_epoch = facts.batches_per_epoch
        recorder.watch_steps(lambda _: self._fail_open.run("step", recorder.read_settings))
        recorder.ended_s = time.monotonic()
        self._fail_open.run("phase", recorder.enter, "train", 1)
        return recorder

    def _ended(self, recorder: Recorder, trainer: Any, loss: torch.Tensor) -> None:
        recorder.epoch, recorder.batch = trainer.round + 1, trainer.batch
        pending = recorder.pending(BatchContents(), StepReport(stepped=bool(recorder.used)), loss)
        recorder.used = ()
        recorder.record(pending)

    def _saved(self, recorder: Recorder, path: Path) -> None:
        counted, ordinal = recorder.counted, recorder.probe.identity.ordinal
        save = Save(recorder.epoch, ordinal, counted.batches, counted.nonfinite_batches, is_best=False)
        recorder.probe.checkpoint(path, save)

    def _refuse(self, recorder: Recorder) -> None:
        order: Order | None = recorder.probe.order()
        if order is not None:
            why = "this integration only watches"
            recorder.probe.settle(order, "refused", why, recorder.epoch, recorder.batch, {})
