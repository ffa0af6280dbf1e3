"""Fail open: what goes wrong in a hook is counted and reported, and training goes on as if the hook were not there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from trainer_hooks.wire.messages import HookTrouble
from trainer_hooks.wire.words import GUARD_STEP

ERRORS_MAX = 3  # of one hook: twice may be a bad moment, three times is a bug, and every try costs training time

LOST = {  # what a hook that is switched off no longer does, for those without which a training is not watched
    GUARD_STEP: "a step with a non-finite gradient is not skipped any more",
    "guard enter": "the gradient norm is not noted any more, and the EMA is not kept from a bad batch",
    "guard average": "the EMA is not kept from a bad batch any more",
    "guard settle": "BatchNorm is not restored after a bad batch any more",
    "batch": "the batches of this training are not recorded any more",
    "before step": "the settings and the gradient norm of the steps are not read any more",
    "checkpoint": "checkpoints are not examined any more",
    "on_model_save": "checkpoints are not examined any more",
    "on_train_batch_end": "the batches of this training are not recorded any more, and no order is carried out",
}

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("trainwarden")


class FailOpen:
    """Runs hook bodies. Exceptions stay inside, except those that are meant to end training.

    What is run in every batch writes the same out, with `failed`: a call of `run` takes 2 us there.
    """

    def __init__(self, report: Callable[[HookTrouble], None], errors_max: int = ERRORS_MAX) -> None:
        self.errors = 0
        self._report = report
        self._errors_max = errors_max
        self._errors_of: dict[str, int] = {}
        self.off: set[str] = set()  # hooks that failed too often, and are not run any more

    def run(self, hook: str, body: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `body` returns, or None where it raised or is switched off.

        KeyboardInterrupt, SystemExit and with it LeaveTraining pass: they are not errors of ours.
        """
        if hook in self.off:
            return None
        try:
            return body(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the edge between us and somebody else's training
            self.failed(hook, error)
            return None

    def failed(self, hook: str, error: Exception) -> bool:
        """Count and report an error of a hook. True: it may be run again. Raises nothing."""
        self.errors += 1
        count = self._errors_of[hook] = self._errors_of.get(hook, 0) + 1
        switched_off = count >= self._errors_max
        if switched_off:
            self.off.add(hook)
        if count == 1:
            _log.warning("hook %s failed, training goes on without it: %r", hook, error, exc_info=error)
        text = f"{type(error).__name__}: {error}"
        try:
            self._report(HookTrouble(time.time(), hook, text, switched_off, LOST.get(hook, "") if switched_off else ""))
        except Exception as failure:  # noqa: BLE001 - reporting an error must not raise one
            _log.warning("trouble of hook %s could not be told: %r", hook, failure)
        return not switched_off
