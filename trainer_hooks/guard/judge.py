"""Decides about the steps of one training: looks at the gradients when a step is called, and leaves out a bad one.

Without a closure a bad step is simply not taken: the gradients stay as they are. With a closure the gradients come into
being within the step, so they are looked at after each evaluation, and bad ones are taken away from the step until it
has returned: every optimizer of torch passes over parameters without a gradient. An optimizer that is built on another
one (SAM) moves the weights in between and moves them back by the gradients, so there only the inner step is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any
from weakref import ref

import torch

from trainer_hooks import steps
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import clipping
from trainer_hooks.guard.clipping import Clipping
from trainer_hooks.guard.report import StepReport
from trainer_hooks.guard.scaling import ScalerWatch
from trainer_hooks.guard.state import GuardedState
from trainer_hooks.tensors import any_nonfinite, gradients, parameters_of, total_norm
from trainer_hooks.wire.messages import SkippedBy
from trainer_hooks.wire.words import GUARD_STEP

Gradients = tuple[int, ...]  # which gradients these are, and how often they were written to


class GradientJudge:
    """`acts=False` only looks."""

    def __init__(self, state: GuardedState, scaler: ScalerWatch, fail_open: FailOpen, *, acts: bool) -> None:
        self.report = StepReport(settled=True)
        self.fresh = True  # the report is for the next step, and nothing stands in it
        self.clip_norm: float | None = None  # replaces the trainer's own limit; None: the trainer's own holds
        self._state, self._scaler, self._fail_open, self._acts = state, scaler, fail_open, acts
        self._optimizers: list[Any] = []
        self._owned: dict[int, ref[Clipping]] = {}  # by the ids of all parameters that it steps: this judge
        self._reference: ref[Clipping] = ref(self)
        self.stepping = False  # a step that was announced is running
        self._parameters: list[torch.Tensor] = []  # of the first optimizer
        self._on_cpu = False
        self._clipped = 0  # parameters that were clipped in this step
        self._count: float = 0  # of them all; inf where one optimizer is built on another
        self._nothing_between = False  # of clip and step: what was clipped is what is used
        self._seen: Gradients = ()  # what the norm that was found is of
        self._used_up: Gradients = ()  # bad ones that a step with a closure has left behind
        self._away: list[tuple[torch.Tensor, torch.Tensor]] = []  # taken away from a step with a closure
        self._evaluations = 0
        self._sees_clips = True  # False: that failed too often

    def follow(self, optimizer: Any) -> None:
        """Judge the steps of this optimizer, and of those that it is built on. The same again does nothing."""
        if self._optimizers and self._optimizers[0] is optimizer:
            return
        self.release()
        self._optimizers = steps.optimizers_within(optimizer)
        self._parameters = parameters_of(optimizer)
        self._count = len(self._parameters) if len(self._optimizers) == 1 else inf
        self._on_cpu = bool(self._parameters) and self._parameters[0].is_cpu
        self._owned = {id(p): self._reference for each in self._optimizers for p in parameters_of(each)}
        clipping.owners.update(self._owned)
        for each in self._optimizers:
            steps.watched_step(each).judge = self

    def release(self) -> None:
        """Leave the optimizers as they were."""
        owned, self._owned = self._owned, {}
        for each in owned:  # other trainings may do the same in other threads
            if clipping.owners.get(each) is self._reference:
                clipping.owners.pop(each, None)
        while self._optimizers:
            optimizer = self._optimizers.pop()
            watched = steps.watched_step(optimizer)
            watched.judge = None if watched.judge is self else watched.judge
            steps.release(optimizer)

    def begin(self, nothing_between: bool) -> StepReport:
        """A step is about to be taken. `nothing_between`: nothing touches the gradients between clip and step."""
        self._clipped, self._nothing_between = 0, nothing_between
        if self.fresh:
            self.fresh = self.report.settled = False
        else:
            self.report = StepReport()
        return self.report

    # --- at each clip (Clipping) -------------------------------------------------------------------------------------

    def found(self, parameters: list[torch.Tensor], norm: torch.Tensor, limit: float, scaled: bool) -> None:
        """Take note of the norm, and before the gradients are scaled by a bad one, of the gradient that is bad."""
        if not self._sees_clips:
            return
        try:
            report = self.report
            report.clip_norm = limit
            if report.norm is not None:
                norm = torch.linalg.vector_norm(torch.stack([report.norm, norm]))
            report.norm, report.norm_value = norm, None  # torch computes it without a graph
            self._clipped += len(parameters)
            if not self._nothing_between:
                self._seen = _which(self._parameters, writes=0 if scaled else 1)
            if not self._on_cpu and (self._scaler.on or _capturing()):
                return  # the scaler waits for the device after this, and decides
            value = report.norm_value = norm.item()
            if not scaled and not isfinite(value):
                self._name(parameters)
        except Exception as error:  # noqa: BLE001 - as FailOpen.run
            self._sees_clips = self._fail_open.failed("guard clip", error)

    # --- at each step (Judge) ----------------------------------------------------------------------------------------

    def admits(self, optimizer: Any, has_closure: bool) -> bool:
        """False: a gradient is not finite."""
        report = self.report
        norm = report.norm_value
        if (
            norm is not None
            and isfinite(norm)
            and self._nothing_between
            and self._clipped >= self._count
            and not report.settled
        ):
            report.called = True  # what it uses was clipped by this norm: most steps of most trainings end here
            return True
        return self._fail_open.run(GUARD_STEP, self._admits, optimizer, has_closure) is not False

    def evaluating(self, optimizer: Any, closure: Callable[..., Any]) -> Callable[..., Any]:
        """The closure, and a look at what it made."""
        self._evaluations = 0

        def evaluate(*args: Any, **options: Any) -> Any:
            loss = closure(*args, **options)
            self._fail_open.run("guard closure", self._evaluated, optimizer)
            return loss

        return evaluate

    def taken(self, optimizer: Any) -> None:
        """Give back what was taken away from the step."""
        away, self._away = self._away, []
        for parameter, grad in away:
            if parameter.grad is None:
                parameter.grad = grad
        self._used_up = _which(parameters_of(optimizer)) if away else ()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _admits(self, optimizer: Any, has_closure: bool) -> bool:
        report = self.report
        if report.settled:  # nobody announced this step
            report = self.begin(False)
            self._scaler.look()
        report.called = True
        clipped = self._clipped >= self._count
        norm = report.norm_value
        if getattr(optimizer, "grad_scale", None) is not None or (self._scaler.on and not self._scaler.passed_by):
            return True  # the scaler has looked, or a fused optimizer unscales and looks by itself
        parameters = self._parameters if optimizer is self._optimizers[0] else parameters_of(optimizer)
        current = _which(parameters)
        if not current or (has_closure and current == self._used_up) or (parameters[0].is_cuda and _capturing()):
            return True
        if norm is None or not (clipped and (self._nothing_between or current == self._seen)):
            norm = self._measure(parameters)
        return _finite(norm) or not self._is_bad(parameters) or not self._leave_out()

    def _measure(self, parameters: list[torch.Tensor]) -> float | None:
        """The norm of what the step is about to use; under a plan a training that clips nothing is clipped here."""
        report, planned = self.report, self.clip_norm is not None and self.report.clip_norm is None
        if planned:
            report.clip_norm = self.clip_norm
            norm: torch.Tensor | None = clipping.original(parameters, self.clip_norm)
        else:
            norm = total_norm(parameters)
        value = None if norm is None else float(norm)
        if report.norm is None:
            report.norm, report.norm_value = norm, value
        if not (planned or _finite(value)):
            self._name(parameters)
        return value

    def _name(self, parameters: list[torch.Tensor]) -> None:
        """A look that only bad steps pay for, and whose failure decides nothing."""
        if not self.report.bad_gradient:
            found = self._fail_open.run("guard name", self._state.bad_gradient, parameters)
            self.report.bad_gradient = found or ""

    def _is_bad(self, parameters: list[torch.Tensor]) -> bool:
        """A norm may be too large for its type where every gradient is finite; without any to look at, none is bad."""
        grads = gradients(parameters)
        return bool(grads) and any_nonfinite(grads or ())

    def _leave_out(self) -> bool:
        if not self._acts:
            return False
        self.report.skipped_by = SkippedBy.GUARD
        self.report.note_buffer(self._state.heal(always=True))
        return True

    def _evaluated(self, optimizer: Any) -> None:
        self._evaluations += 1
        self.fresh = False
        parameters = parameters_of(optimizer)
        built_on_others = len(steps.optimizers_within(optimizer)) > 1
        if self._scaler.on or built_on_others or (parameters[0].is_cuda and _capturing()):
            return
        if _finite(self._measure(parameters)) or not self._is_bad(parameters) or not self._acts:
            return
        if self._evaluations == 1:
            self.report.skipped_by = SkippedBy.GUARD
        self.report.note_buffer(self._state.heal(always=True))
        self._away = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        for parameter, _ in self._away:
            parameter.grad = None


def _which(parameters: Sequence[torch.Tensor], writes: int = 0) -> Gradients:
    """Tells these gradients, after so many more writes to them, from those of another moment. Empty: there are none.

    By the first and the last one.
    """
    for parameter in parameters:
        first = parameter.grad
        if first is not None:
            break
    else:
        return ()
    for parameter in reversed(parameters):
        last = parameter.grad
        if last is not None:
            return id(first), first._version + writes, id(last), last._version + writes
    return ()


def _capturing() -> bool:
    """True: a CUDA graph is being recorded, in which nothing can be read."""
    return torch.cuda.is_available() and bool(torch.cuda.is_current_stream_capturing())


def _finite(value: float | None) -> bool:
    return value is None or isfinite(value)
