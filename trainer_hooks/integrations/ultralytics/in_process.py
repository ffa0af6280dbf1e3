"""Goes back to an older state in the same process: leaves a trainer's loop at a batch boundary and enters it again.

The trainer, its model, its optimizer and its data stay the same objects; the user's script does not begin anew, and
sees no second start of its training. What can't be gone back to here is refused, and the process is started again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

REPLACED = ("run_callbacks", "_do_train")


class LeaveLoop(BaseException):
    """Raised at a batch boundary, after every callback of the batch; `InProcess` alone catches it."""


class InProcess:
    """Around one call of a trainer's train(). `go_back` puts the state back, right before the loop begins again."""

    def __init__(self, is_due: Callable[[], bool], go_back: Callable[[Any], None]) -> None:
        self._is_due = is_due
        self._go_back = go_back
        self._enters_again = False
        self._began_s: float | None = None  # trainer.train_time_start, which the loop sets anew
        self._own: dict[str, tuple[bool, Any]] = {}  # by name: was it the instance's own, and what it was

    def attach(self, trainer: Any) -> None:
        """Come between the trainer and its loop."""
        for name, ours in zip(REPLACED, (self._run_callbacks, self._loop), strict=True):
            original = getattr(trainer, name)
            self._own[name] = name in vars(trainer), original
            setattr(trainer, name, functools.partial(ours, trainer, original))

    def detach(self, trainer: Any) -> None:
        """Leave nothing of ours on the trainer; what somebody else has put over it since stays."""
        while self._own:
            name, (own, original) = self._own.popitem()
            if getattr(vars(trainer).get(name), "args", (None,))[-1] is original:
                _put(trainer, name, original, own=own)

    def _run_callbacks(self, trainer: Any, original: Any, event: str) -> None:
        if event == "on_train_start" and self._enters_again:
            self._enters_again = False
            if self._began_s is not None:
                trainer.train_time_start = self._began_s
            return
        original(event)
        if event == "on_train_batch_end" and self._is_due():
            raise LeaveLoop

    def _loop(self, trainer: Any, original: Any, *args: Any, **options: Any) -> Any:
        while True:
            try:
                return original(*args, **options)
            except LeaveLoop as leaving:
                _close_bar(leaving)
                leaving.__traceback__ = leaving.__context__ = None  # they hold the batch and its graph
            self._began_s = getattr(trainer, "train_time_start", None)
            self._enters_again = True
            own, setup = "_setup_train" in vars(trainer), trainer._setup_train
            trainer._setup_train = functools.partial(self._set_up, trainer, setup, own)

    def _set_up(self, trainer: Any, setup: Any, own: bool, *_: Any, **__: Any) -> None:
        """In place of the one `_setup_train` of the loop that begins again: everything is built already."""
        _put(trainer, "_setup_train", setup, own=own)
        self._go_back(trainer)


def _put(trainer: Any, name: str, original: Any, *, own: bool) -> None:
    if own:
        setattr(trainer, name, original)
    else:
        delattr(trainer, name)


def _close_bar(leaving: BaseException) -> None:
    """Close the progress bar of the loop that was left, so that the next one begins on a line of its own."""
    trace = leaving.__traceback__
    while trace is not None:
        close = getattr(trace.tb_frame.f_locals.get("pbar"), "close", None)
        if callable(close):
            close()
        trace = trace.tb_next
