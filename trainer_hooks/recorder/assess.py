"""What a batch's scalars say of it: which bits, who skipped, what was lost. Keeps the totals of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from trainer_hooks.guard import Examination, Guard, StepReport
from trainer_hooks.recorder.batch import BatchAssessment, PendingBatch
from trainer_hooks.wire.messages import Counts, Nonfinite, SkippedBy

Totals: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int, int]


@dataclass(slots=True)
class Counted:
    """The totals of wire.messages.Counts while they are being counted."""

    batches: int = 0
    steps: int = 0
    nonfinite_batches: int = 0
    nonfinite_loss: int = 0
    nonfinite_gradient: int = 0
    nonfinite_parameter: int = 0
    nonfinite_buffer: int = 0
    skipped_by_guard: int = 0
    skipped_by_scaler: int = 0
    scaler_overflows: int = 0
    samples_lost: int = 0
    skipped_by_script: int = 0
    evidence: int = 0  # NonfiniteSeen events sent; no part of Counts, as what follows
    bad_at: int = 0  # batches at the last non-finite one

    def totals(self) -> Totals:
        """The totals now, for `counts_of`."""
        return (
            self.batches,
            self.steps,
            self.nonfinite_batches,
            self.nonfinite_loss,
            self.nonfinite_gradient,
            self.nonfinite_parameter,
            self.nonfinite_buffer,
            self.skipped_by_guard,
            self.skipped_by_scaler,
            self.scaler_overflows,
            self.samples_lost,
            self.skipped_by_script,
        )

    def counts(self, hook_errors: int, records_dropped: int) -> Counts:
        """The totals now, as they go on the wire."""
        return counts_of(self.totals(), hook_errors, records_dropped)

    def add(self, bits: Nonfinite, skipped_by: SkippedBy, *, stepped: bool, overflow: bool) -> None:
        """One batch more."""
        self.batches += 1
        self.steps += stepped
        if bits:
            self.nonfinite_batches += 1
            self.bad_at = self.batches
            self.nonfinite_loss += Nonfinite.LOSS in bits
            self.nonfinite_gradient += Nonfinite.GRADIENT in bits
            self.nonfinite_parameter += Nonfinite.PARAMETER in bits
            self.nonfinite_buffer += Nonfinite.BUFFER in bits
        self.scaler_overflows += overflow
        self.skipped_by_guard += skipped_by == SkippedBy.GUARD
        self.skipped_by_scaler += skipped_by == SkippedBy.SCALER
        self.skipped_by_script += skipped_by == SkippedBy.SCRIPT


def counts_of(totals: Totals, hook_errors: int, records_dropped: int) -> Counts:
    """The totals as they go on the wire, with what the probe counts."""
    *first, by_script = totals
    counts = Counts(*first)
    return msgspec.structs.replace(
        counts, hook_errors=hook_errors, records_dropped=records_dropped, skipped_by_script=by_script
    )


class Assessor(Protocol):
    """Assesses the batches of one training, one after the other, and counts them."""

    def assess(self, pending: PendingBatch, assessed: BatchAssessment) -> None:
        """Complete the assessment of a batch, in which its scalars stand."""
        ...


class WatchingAssessor:
    """Where nothing guards the steps: what the scalars say by themselves. A scale that falls is a skipped step.

    `examine` looks at the state, after a bad batch: a step that was taken on NaN is damage. None: nobody looks.
    """

    def __init__(self, counted: Counted, examine: Callable[[], Examination] | None = None) -> None:
        self._counted = counted
        self._examine = examine
        self._scale: float | None = None  # after the batch before
        self._steps = StepRhythm()
        self._damaged = False  # parameters were not finite after the batch before

    def assess(self, pending: PendingBatch, assessed: BatchAssessment) -> None:
        """See Assessor."""
        report = pending.report
        scale, before = assessed.scale, self._scale
        self._scale = scale if scale is not None else before
        fell = scale is not None and before is not None and scale < before
        overflow = fell and math.isfinite(assessed.loss)  # the scaler looking for its range: normal
        if fell:
            report.skipped_by = SkippedBy.SCALER
        if not math.isfinite(assessed.loss):
            assessed.bits |= Nonfinite.LOSS
        if not overflow and not finite(assessed.norm):
            assessed.bits |= Nonfinite.GRADIENT
        if not finite(assessed.update):
            assessed.update = None
        left_out = self._steps.left_out(stepped=report.stepped or fell, bad=bool(assessed.bits))
        if assessed.bits and self._examine is not None:
            _add_found(assessed, self._examine())
        damaged = Nonfinite.PARAMETER in assessed.bits
        left_out &= self._damaged or not damaged  # else a step may have been taken, by a way that we do not see
        if left_out:
            report.skipped_by = SkippedBy.SCRIPT
        self._damaged = damaged
        stepped = report.stepped or fell or left_out
        self._counted.add(assessed.bits, report.skipped_by, stepped=stepped, overflow=overflow)


class StepRhythm:
    """After how many batches a loop takes a step, learned from the steps before: it shows a step that is left out."""

    def __init__(self) -> None:
        self._every = 0  # batches from one step to the next; 0: no step was taken yet
        self._since = 0  # batches since the last one
        self._bad = False  # one of them

    def left_out(self, *, stepped: bool, bad: bool) -> bool:
        """A batch has ended. True: a step was due, and the loop did not take it because of a bad batch."""
        self._since += 1
        self._bad |= bad
        if stepped:
            self._every = self._since
        elif not (self._bad and self._every and self._since >= self._every):
            return False
        self._since, self._bad = 0, False
        return not stepped


class GuardedAssessor:
    """With a guard: it also repairs what it can, and reports what it found.

    With accumulation a step answers for several batches: a bad one before it is remembered, so that the step it costs
    is not held against the batch that happens to end it, and the good ones lost with it are counted as samples.
    """

    def __init__(self, guard: Guard, counted: Counted) -> None:
        self._guard = guard
        self._counted = counted
        self._bad_before = False  # a batch since the last step was non-finite
        self._damaged = False  # so were parameters after the last batch that was looked at
        self._good_samples = 0  # of good batches since the last step

    def assess(self, pending: PendingBatch, assessed: BatchAssessment) -> None:
        """See Assessor; the guard has repaired what it can when it returns."""
        report = pending.report
        if assessed.update is not None and (report.skipped_by or not math.isfinite(assessed.update)):
            assessed.update = None
        if assessed.scale is not None:
            self._guard.note_scale(assessed.scale)
        quiet = not assessed.measures or self._guard.resolve(assessed.measures)
        loss_finite = math.isfinite(assessed.loss)
        norm_finite = assessed.norm is None or math.isfinite(assessed.norm)
        if quiet and loss_finite and norm_finite and not report.skipped_by and not report.bad_buffer:
            self._counted.batches += 1  # what follows would come to this too, but takes three times as long
            self._counted.steps += report.stepped
            self._good_samples += pending.contents.size or 0
            self._damaged = False
            if report.stepped:
                self._bad_before, self._good_samples = False, 0
            return
        overflow = loss_finite and self._isolated_overflow(report)
        if not loss_finite:
            assessed.bits |= Nonfinite.LOSS
        if not norm_finite and not overflow and (not self._bad_before or not loss_finite):
            assessed.bits |= Nonfinite.GRADIENT
        if report.bad_buffer and not (self._bad_before and loss_finite):
            assessed.bits |= Nonfinite.BUFFER
        if assessed.bits or not quiet or not norm_finite:
            self._examine(assessed)
        damaged, damaged_before = Nonfinite.PARAMETER in assessed.bits, report.damaged_before or self._damaged
        if report.skipped_by == SkippedBy.SCRIPT and damaged and not damaged_before:
            report.skipped_by, report.stepped = SkippedBy.NOBODY, report.called  # one may have been taken, unseen
        self._damaged = damaged
        self._counted.add(assessed.bits, report.skipped_by, stepped=report.stepped, overflow=overflow)
        self._remember(pending, assessed, overflow)

    def _isolated_overflow(self, report: StepReport) -> bool:
        """The scaler looking for its range: normal, and no sign of trouble."""
        skipped = report.skipped_by == SkippedBy.SCALER
        return skipped and report.scale_healthy and not report.bad_buffer and not self._bad_before

    def _examine(self, assessed: BatchAssessment) -> None:
        found = self._guard.examine()
        _add_found(assessed, found)
        assessed.cured = bool(assessed.bits) and found.clean and self._guard.protects

    def _remember(self, pending: PendingBatch, assessed: BatchAssessment, overflow: bool) -> None:
        if not assessed.bits:
            self._good_samples += pending.contents.size or 0
        if not pending.report.stepped:
            self._bad_before |= bool(assessed.bits)
            return
        if pending.report.skipped_by and not overflow:
            self._counted.samples_lost += self._good_samples
        self._bad_before, self._good_samples = False, 0


def _add_found(assessed: BatchAssessment, found: Examination) -> None:
    assessed.examination = found
    if found.parameter or found.average:
        assessed.bits |= Nonfinite.PARAMETER
    if found.buffer:
        assessed.bits |= Nonfinite.BUFFER


def finite(value: float | None) -> bool:
    """False for NaN and infinities; None, a value that is not there, is not held against it."""
    return value is None or math.isfinite(value)
