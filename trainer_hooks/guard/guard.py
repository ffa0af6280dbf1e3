"""The guard of one training, as an integration sees it: told when a step begins and ends, asked what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch

from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard.average import GuardedAverage
from trainer_hooks.guard.judge import GradientJudge
from trainer_hooks.guard.report import Examination, StepReport
from trainer_hooks.guard.scaling import Scaler, ScalerWatch
from trainer_hooks.guard.state import GuardedState
from trainer_hooks.wire.messages import SkippedBy
from trainer_hooks.wire.words import GUARD_STEP


class Guard:
    """`acts=False` only looks and reports."""

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
        self._fail_open = fail_open
        self._loss: torch.Tensor | None = None
        self.scaler = ScalerWatch(scaler)
        self._average = GuardedAverage(fail_open, self._may_update)
        self._state = GuardedState(model, self._average, acts=acts)
        self._judge = GradientJudge(self._state, self.scaler, fail_open, acts=acts)
        self._judge.follow(optimizer)

    @property
    def report(self) -> StepReport:
        """Of the present batch."""
        return self._judge.report

    @property
    def protects(self) -> bool:
        """True: a non-finite gradient reaches no parameter, whether we leave its step out or the scaler does."""
        return (self.acts and GUARD_STEP not in self._fail_open.off) or self.scaler.on

    # --- around the trainer's step -----------------------------------------------------------------------------------

    def follow(self, optimizer: Any) -> None:
        """The trainer steps with this optimizer, which it may have built anew."""
        self._judge.follow(optimizer)

    def clip_to(self, norm: float | None) -> None:
        """Use this limit in place of the trainer's own; None: the trainer's own holds."""
        self._judge.clip_norm = norm

    def enter(self, loss: torch.Tensor | None, average: Any, own_step: bool = True) -> None:
        """The trainer is about to take an optimizer step; `loss` is what it just differentiated.

        `own_step`: code of the script's own takes it, which may move the weights itself.
        """
        judge = self._judge
        judge.begin(not own_step)
        self._loss = loss  # with its graph, which the trainer holds as well until its next batch; see `take`
        scaler = self.scaler
        scaler.called, scaler.on = False, bool(scaler.asks())
        if scaler.on:
            scaler.enter()
        if average is not self._average.bound:
            self._average.bind(average)
        judge.stepping = True
        if own_step and self.acts and not self._loss_is_finite():
            judge.report.damaged_before = self._state.is_damaged()
            if not judge.report.damaged_before:
                self._state.hold()

    def leave(self) -> StepReport:
        """The step is over, or has raised. What is known of it: `settle` may still be due."""
        judge = self._judge
        judge.stepping = False
        if self.scaler.on:
            self.scaler.leave()
        if self._state.held:
            self._fail_open.run("guard weights", self._state.put_back)
        return judge.report

    def bind(self, average: Any) -> None:
        """Come between the trainer and its moving average, which a recovery may have built anew."""
        self._average.bind(average)

    def release(self) -> None:
        """The training is over: leave optimizer and average as they were."""
        self._judge.release()
        self._average.unbind()

    def settle(self) -> None:
        """Assess the step that was just taken or left out, before the average sees its result. Once per step."""
        report = self._judge.report
        if report.settled:
            return
        report.settled = True
        norm = report.norm_value
        if report.called and not report.skipped_by and not self.scaler.on and (norm is None or isfinite(norm)):
            report.stepped = True  # what `_settle` does would come to this too, but takes longer
        elif not self._settle(report):
            return
        state = self._state
        state.good_steps += 1
        if state.good_steps >= state.look_at:
            state.look()

    # --- at a batch's end --------------------------------------------------------------------------------------------

    def take(self) -> StepReport:
        """The report of the batch that has just ended, settled; the next one starts empty."""
        judge = self._judge
        report = judge.report
        if not report.settled:
            self.settle()
        if self._state.pending:
            report.measures = self.measures()
        judge.report, judge.fresh = StepReport(settled=True), True
        self._loss = None
        return report

    def measures(self) -> list[torch.Tensor]:
        """Scalars to be read with the batch's own, in one copy, and handed to `resolve` in the same order.

        Most batches have none.
        """
        pending = self._state.pending
        return [measure for _, measure in pending] if pending else []

    def resolve(self, values: Sequence[float]) -> bool:
        """Take in what `measures` turned out to be. False: something is non-finite, `examine` finds out what."""
        return self._state.resolve(values) if values else True

    def note_scale(self, scale: float | None) -> None:
        """The loss scale after this batch: the next one shows whether the scaler has skipped."""
        self.scaler.scale = scale

    def examine(self) -> Examination:
        """Look at everything, and restore what it can. Takes milliseconds: for bad batches, saves and validations."""
        return self._state.examine()

    def refresh(self) -> None:
        """The state was replaced from outside, by a recovery. Waits for the device."""
        self._state.refresh()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _settle(self, report: StepReport) -> bool:
        """True: a good step was taken."""
        if report.skipped_by != SkippedBy.GUARD:
            report.skipped_by = self._skipped_by(report)
        report.stepped = report.called or report.skipped_by != SkippedBy.NOBODY
        if report.skipped_by or not _finite(report.norm_value):
            self._heal(report)
            return False
        return report.called

    def _skipped_by(self, report: StepReport) -> SkippedBy:
        """Who left the step out, where it was not us."""
        if self.scaler.on and (report.called or self.scaler.called):
            return self.scaler.skipped(report)
        return SkippedBy.NOBODY if report.called or self._looks_finite(report) else SkippedBy.SCRIPT

    def _looks_finite(self, report: StepReport) -> bool:
        return _finite(report.read_norm()) and self._loss_is_finite()

    def _loss_is_finite(self) -> bool:
        return self._loss is None or isfinite(self._loss.item())

    def _heal(self, report: StepReport) -> None:
        done = report.skipped_by == SkippedBy.GUARD  # but a closure may have gone through the model since
        report.note_buffer(self._state.heal(always=not (done or self._loss_is_finite())))

    def _may_update(self) -> bool:
        """The average is about to follow the model. False: it must not, this batch left no step to follow."""
        report = self._judge.report
        if not (
            report.called or self.scaler.called or report.settled
        ):  # the script leaves its step out, or takes it later
            if not self._looks_finite(report):
                self._heal(report)
            return True
        self.settle()
        if report.skipped_by == SkippedBy.SCALER:
            return not report.bad_buffer and self._loss_is_finite()  # a scaler that looks for its range is no fault
        return report.skipped_by != SkippedBy.GUARD


def _finite(value: float | None) -> bool:
    return value is None or isfinite(value)
