"""Keeps a non-finite batch from doing lasting damage. Knows torch, no framework; an integration binds it to a trainer.

It sits at two places every trainer passes: `torch.nn.utils.clip_grad_norm_`, whose discarded result is the gradient
norm, and the `update` of the moving average. Where the scaler is off, a step with a non-finite norm is dropped: no
gradients, no update of the average, running statistics restored. Where the scaler is on it drops the step itself; what
is left is to restore the running statistics, which the forward pass has poisoned, before the average sees them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import get_ident
from typing import Any, Protocol

import msgspec
import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.tensors import StatisticsBackup, first_nonfinite, largest, statistics_modules, unwrap
from trainer_hooks.wire.messages import SkippedBy

STATISTICS_EVERY_STEPS = 20  # one flat copy and scan costs 0.1 ms; statistics 20 steps old are as good as new ones
PENDING_MAX = 4  # measures on their way to the host; more only if nobody reads them any more
PARAMETERS_EVERY_STEPS = 500  # a scan costs 1 to 10 ms: below 0.02 % of 500 steps
SCALE_HEALTHY = 1.0  # a scaler that falls below it is not looking for its range any more, it is losing every step

_active: dict[int, Guard] = {}  # by thread: whose optimizer step is running in it


class Scaler(Protocol):
    """The part of torch.amp.GradScaler that is used."""

    def is_enabled(self) -> bool: ...
    def get_scale(self) -> float: ...


class StepReport(msgspec.Struct):
    """What the guard saw and did in one batch. Without an optimizer step in it, everything is as below."""

    norm: torch.Tensor | None = None  # L2 before clipping, unscaled
    norm_value: float | None = None  # the same on the host, where it had to be read already
    clip_norm: float | None = None  # the limit that was used
    skipped_by: SkippedBy = SkippedBy.NOBODY
    scale_healthy: bool = True
    settled: bool = False  # the guard has nothing more to check in this batch
    stepped: bool = False  # an optimizer step was taken or skipped
    bad_buffer: str = ""  # the first statistic found non-finite, before it was restored


@dataclass(frozen=True, slots=True)
class Examination:
    """What a full look at the state found: names of the first non-finite tensors; no names: all is finite."""

    buffer: str  # before it was restored
    parameter: str
    average: str  # parameter or statistic of the moving average that could not be restored
    clean: bool  # True: nothing is non-finite now

    @property
    def first_bad(self) -> str:
        """The name that matters most; empty: nothing was wrong."""
        return self.parameter or self.buffer or self.average

    @property
    def finding(self) -> str:
        """One sentence; empty: nothing is wrong any more."""
        names = [name for name in (self.parameter, self.average, "" if self.clean else self.buffer) if name]
        return f"non-finite: {', '.join(names)}" if names else ""


class Guard:
    """The guard of one training. `acts=False` only looks and reports."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: Scaler | None,
        fail_open: FailOpen,
        *,
        acts: bool = True,
    ) -> None:
        self.acts = acts
        self.clip_norm: float | None = None  # replaces the trainer's own limit; None: the trainer's own holds
        self.report = StepReport(settled=True)
        self.steps = 0
        self._model = unwrap(model)
        self._optimizer = optimizer
        self._owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self._scaler = scaler
        self.scales = scaler is not None and scaler.is_enabled()  # as of the present step
        self._scale: float | None = None
        self._fail_open = fail_open
        self._average: Any = None
        self._own_update: Any = None  # what the average itself, not its class, had there
        self._loss: torch.Tensor | None = None
        self._backup = StatisticsBackup(model)
        self._good_steps = 0
        self._pending: list[tuple[Callable[[float], bool], torch.Tensor]] = []
        self.refresh()
        self._hook = optimizer.register_step_pre_hook(self._before_optimizer)

    @property
    def looking(self) -> bool:
        """True: there are `measures`."""
        return bool(self._pending)

    @property
    def protects(self) -> bool:
        """True: a non-finite gradient reaches no parameter, whether we drop its step or the scaler does."""
        return self.acts or self._scaling()

    # --- at a step ---------------------------------------------------------------------------------------------------

    def enter(self, loss: torch.Tensor | None, average: Any) -> None:
        """The trainer is about to take an optimizer step in this thread; `loss` is what it just differentiated."""
        self.report = StepReport()
        self._loss = loss  # with its graph, which the trainer holds as well until its next batch; see `take`
        self.scales = self._scaling()
        if average is not self._average:
            self.bind(average)
        _active[get_ident()] = self

    def leave(self) -> None:
        """The step is over, or has raised."""
        _active.pop(get_ident(), None)

    def bind(self, average: Any) -> None:
        """Come between the trainer and its moving average, which a recovery may have built anew."""
        if average is not None and average is not self._average:
            self.unbind()
            self._average, self._own_update = average, vars(average).get("update")
            average.update = functools.partial(self._update_average, average.update)

    def unbind(self) -> None:
        """Leave the moving average alone again, unless somebody else has come between since."""
        update = vars(self._average).get("update") if self._average is not None else None
        if not isinstance(update, functools.partial) or update.func != self._update_average:
            return
        if self._own_update is None:
            del self._average.update
        else:
            self._average.update = self._own_update

    def release(self) -> None:
        """The training is over: leave optimizer and average as they were."""
        self._hook.remove()
        self.unbind()

    def clip(
        self,
        clip: Callable[..., torch.Tensor],
        parameters: Any,
        max_norm: float,
        *rest: Any,
        **options: Any,
    ) -> torch.Tensor:
        """What runs in place of clip_grad_norm_ during a step. Parameters that are not ours are clipped as asked."""
        listed = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        ours = bool(listed) and id(listed[0]) in self._owned
        limit = self.clip_norm if ours and self.clip_norm is not None else max_norm
        norm = clip(listed, limit, *rest, **options)
        if ours:
            self._fail_open.run("guard.clip", self._normed, norm, limit)
        return norm

    def settle(self) -> None:
        """Assess the step that was just taken or skipped, before the average sees its result. Once per step."""
        report = self.report
        if report.settled:
            return
        report.settled = report.stepped = True
        self.steps += 1
        if report.skipped_by == SkippedBy.GUARD:
            return
        if self._scaler_skipped(report):
            report.skipped_by = SkippedBy.SCALER
        if report.skipped_by or (report.norm_value is not None and not math.isfinite(report.norm_value)):
            report.bad_buffer = self.heal(always=self._loss is not None and not math.isfinite(self._loss.item()))
            return
        self._good_steps += 1
        if len(self._pending) < PENDING_MAX:
            self._look_around()

    def heal(self, *, always: bool = False) -> str:
        """Put the running statistics back if they are non-finite (or `always`); the name of the first bad one.

        Waits for the device.
        """
        measure = self._backup.measure()
        dirty = measure is not None and not math.isfinite(float(measure))
        bad = self._backup.first_bad() if dirty else ""
        if self.acts and (dirty or always):
            self._backup.restore()
        return bad

    # --- at a batch's end --------------------------------------------------------------------------------------------

    def take(self) -> StepReport:
        """The report of the batch that has just ended; the next one starts empty."""
        report, self.report = self.report, StepReport(settled=True)
        self._loss = None
        return report

    def measures(self) -> list[torch.Tensor]:
        """Scalars to be read with the batch's own, in one copy, and handed to `resolve` in the same order.

        Most batches have none.
        """
        return [measure for _, measure in self._pending] if self._pending else []

    def resolve(self, values: Sequence[float]) -> bool:
        """Take in what `measures` turned out to be. False: something is non-finite, `examine` finds out what."""
        if not values:
            return True
        pending, self._pending = self._pending[: len(values)], self._pending[len(values) :]
        accepted = [accept(value) for (accept, _), value in zip(pending, values, strict=True)]  # each gets its value
        return all(accepted)

    def note_scale(self, scale: float | None) -> None:
        """The loss scale after this batch: the next one shows whether the scaler has skipped."""
        self._scale = scale

    def examine(self) -> Examination:
        """Look at everything, and restore what it can. Takes milliseconds: for bad batches, saves and validations."""
        buffer = self.heal()
        parameter = first_nonfinite(self._model.named_parameters()) if self._dirty(self._model.parameters()) else ""
        average = self._heal_average()
        still = self._backup.first_bad() if buffer else ""
        return Examination(buffer, parameter, average, clean=not (parameter or average or still))

    def refresh(self) -> None:
        """Back up now, waiting for the device: the state is new, or was replaced from outside by a recovery."""
        self._pending.clear()
        measure = self._backup.begin()
        if measure is not None:
            self._backup.commit(float(measure))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _normed(self, norm: torch.Tensor, limit: float | None) -> None:
        report = self.report
        report.clip_norm = limit
        both = norm if report.norm is None else torch.linalg.vector_norm(torch.stack([report.norm, norm]))
        report.norm = both.detach() if both.requires_grad else both
        report.norm_value = None
        if not self.scales:
            report.norm_value = both.item()
            if self.acts and not math.isfinite(report.norm_value):
                self._drop()

    def _drop(self) -> None:
        """No gradient, no step: every optimizer of torch passes over parameters without one, momentum included."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self.report.skipped_by = SkippedBy.GUARD
        self.report.bad_buffer = self.heal(always=True)

    def _before_optimizer(self, *_: object) -> None:
        self._fail_open.run("guard.step", self._measure_unclipped)

    def _measure_unclipped(self) -> None:
        """The trainer's code holds its own reference to clip_grad_norm_, or clips nothing: measure (and clip) here."""
        if self.report.settled:  # nobody announced this step either
            self.report = StepReport()
            self.scales = self._scaling()
        if self.report.norm is not None or getattr(self._optimizer, "grad_scale", None) is not None:
            return  # a fused optimizer unscales by itself, later than this
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        limit = math.inf if self.clip_norm is None else self.clip_norm
        self._normed(_original_clip(parameters, limit), self.clip_norm)

    def _update_average(self, update: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._fail_open.run("guard.average", self.settle)
        return None if self.report.skipped_by == SkippedBy.GUARD else update(*args, **options)

    def _scaling(self) -> bool:
        return self._scaler is not None and self._scaler.is_enabled()

    def _scaler_skipped(self, report: StepReport) -> bool:
        """With the scaler on: did it skip this step? It has read its own verdict already, so this waits for little."""
        if not self.scales or self._scaler is None:
            return False
        if report.norm is not None:
            report.norm_value = float(report.norm)
            if math.isfinite(report.norm_value):
                return False
        scale = self._scaler.get_scale()
        report.scale_healthy = scale >= SCALE_HEALTHY
        return self._scale is not None and scale < self._scale

    def _look_around(self) -> None:
        """Every so many good steps, start looking at what no bad batch has announced."""
        if self._good_steps % STATISTICS_EVERY_STEPS == 0:
            statistics = self._backup.begin()
            if statistics is not None:
                self._pending.append((self._backup.commit, statistics))
        if self._good_steps % PARAMETERS_EVERY_STEPS == 0:
            parameters = largest(self._model.parameters())
            if parameters is not None:
                self._pending.append((math.isfinite, parameters))

    def _dirty(self, tensors: Any) -> bool:
        measure = largest(tensors)
        return measure is not None and not math.isfinite(float(measure))

    def _heal_average(self) -> str:
        """Put statistics of the moving average right from the live ones; the name of what stays bad."""
        average = getattr(self._average, "ema", None)
        if average is None or not self._dirty(chain(average.parameters(), average.buffers())):
            return ""
        if self.acts:
            live = dict(statistics_modules(self._model))
            for name, module in statistics_modules(average):
                for statistic in ("running_mean", "running_var"):
                    mine, theirs = getattr(module, statistic), getattr(live.get(name), statistic, None)
                    if theirs is not None and not bool(torch.isfinite(mine).all()):
                        mine.copy_(theirs)
        bad = first_nonfinite(chain(average.named_parameters(), average.named_buffers()))
        return f"average of {bad}" if bad else ""


def watch_clipping() -> None:
    """Come between every trainer and clip_grad_norm_. Done once; outside of a guarded step nothing is different."""
    if getattr(torch.nn.utils.clip_grad_norm_, "_trainwarden", False):
        return
    for module in (torch.nn.utils, torch.nn.utils.clip_grad):  # both, so that a pickled reference finds what it named
        module.clip_grad_norm_ = _clip_grad_norm_


_original_clip = torch.nn.utils.clip_grad.clip_grad_norm_


@functools.wraps(_original_clip)
def _clip_grad_norm_(parameters: Any, max_norm: float, *rest: Any, **options: Any) -> torch.Tensor:
    guard = _active.get(get_ident())
    if guard is None:
        norm: torch.Tensor = _original_clip(parameters, max_norm, *rest, **options)
        return norm
    return guard.clip(_original_clip, parameters, max_norm, *rest, **options)


_clip_grad_norm_._trainwarden = True  # type: ignore[attr-defined]
