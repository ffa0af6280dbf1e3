"""One batch, from the trainer's scalars to a verdict on it: which bits, who skipped, what was lost. Keeps totals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from trainer_hooks.guard import Examination, Guard, StepReport
from trainer_hooks.integrations.ultralytics.process import Counted
from trainer_hooks.integrations.ultralytics.signals import BatchContents, finite
from trainer_hooks.restore import Reading
from trainer_hooks.tensors import Memory
from trainer_hooks.wire.messages import Nonfinite, SkippedBy

NOTHING = Nonfinite(0)


@dataclass(slots=True)
class PendingBatch:
    """What is known of a batch on the host when it ends, and the scalars that still have to be read."""

    wall_s: float
    sent_s: float
    epoch: int  # from 1
    batch: int
    batches_per_epoch: int
    contents: BatchContents
    report: StepReport
    used: tuple[Reading, ...]  # each group as its step used it
    clip_norm: float | None  # of the last step; None: nothing was clipped yet
    memory: Memory
    batch_s: float | None
    data_wait_s: float | None
    ramp: float | None = None
    onset_samples_left: int | None = None
    parts_count: int = 0
    scalars: list[torch.Tensor] = field(default_factory=list)  # loss, parts, then as the flags say
    reads_norm: bool = False
    reads_scale: bool = False
    reads_update: bool = False

    def forget_tensors(self) -> None:
        """They have been read; the loss would keep its whole graph alive until the record is sent."""
        self.scalars = []
        self.report.norm = None


@dataclass(slots=True)
class BatchAssessment:
    """What the scalars of a batch turned out to say."""

    loss: float
    parts: tuple[float, ...]
    norm: float | None
    scale: float | None
    update: float | None = None  # |change| / |weights| of the step; None: not sampled, or not taken
    bits: Nonfinite = NOTHING
    cured: bool = False
    examination: Examination | None = None  # None: there was no reason to look

    @property
    def first_bad(self) -> str:
        """The first tensor found non-finite; empty: none, or nobody looked."""
        return self.examination.first_bad if self.examination else ""


class BatchAssessor:
    """Judges the batches of one training, one after the other, and counts into the process's counted.

    With accumulation a step answers for several batches: a bad one before it is remembered, so that the step it costs
    is not held against the batch that happens to end it, and the good ones lost with it are counted as samples.
    """

    def __init__(self, guard: Guard, counted: Counted) -> None:
        self._guard = guard
        self._counted = counted
        self._bad_before = False  # a batch since the last step was non-finite
        self._good_samples = 0  # of good batches since the last step

    def judge(self, draft: PendingBatch, values: list[float]) -> BatchAssessment:
        """The verdict on the batch whose scalars read `values`; the guard has put right what it can when it returns."""
        report = draft.report
        rest = iter(values)
        verdict = BatchAssessment(
            loss=next(rest),
            parts=tuple(next(rest) for _ in range(draft.parts_count)),
            norm=next(rest) if draft.reads_norm else report.norm_value,
            scale=next(rest) if draft.reads_scale else None,
            update=next(rest) if draft.reads_update else None,
        )
        if verdict.update is not None and (report.skipped_by or not math.isfinite(verdict.update)):
            verdict.update = None
        self._guard.note_scale(verdict.scale)
        quiet = self._guard.resolve(list(rest))
        loss_finite = math.isfinite(verdict.loss)
        overflow = loss_finite and self._isolated_overflow(report)
        if not loss_finite:
            verdict.bits |= Nonfinite.LOSS
        if not finite(verdict.norm) and not overflow and (not self._bad_before or not loss_finite):
            verdict.bits |= Nonfinite.GRADIENT
        if report.bad_buffer and not (self._bad_before and loss_finite):
            verdict.bits |= Nonfinite.BUFFER
        if verdict.bits or not quiet or not finite(verdict.norm):
            self._examine(verdict)
        self._count(draft, verdict, overflow)
        return verdict

    def _isolated_overflow(self, report: StepReport) -> bool:
        """The scaler looking for its range: normal, and no sign of trouble."""
        skipped = report.skipped_by == SkippedBy.SCALER
        return skipped and report.scale_healthy and not report.bad_buffer and not self._bad_before

    def _examine(self, verdict: BatchAssessment) -> None:
        found = verdict.examination = self._guard.examine()
        if found.parameter or found.average:
            verdict.bits |= Nonfinite.PARAMETER
        if found.buffer:
            verdict.bits |= Nonfinite.BUFFER
        verdict.cured = bool(verdict.bits) and found.clean and self._guard.protects

    def _count(self, draft: PendingBatch, verdict: BatchAssessment, overflow: bool) -> None:
        counted, report, bits = self._counted, draft.report, verdict.bits
        counted.batches += 1
        if bits:
            counted.nonfinite_batches += 1
            counted.nonfinite_loss += Nonfinite.LOSS in bits
            counted.nonfinite_gradient += Nonfinite.GRADIENT in bits
            counted.nonfinite_parameter += Nonfinite.PARAMETER in bits
            counted.nonfinite_buffer += Nonfinite.BUFFER in bits
        counted.scaler_overflows += overflow
        counted.skipped_by_guard += report.skipped_by == SkippedBy.GUARD
        counted.skipped_by_scaler += report.skipped_by == SkippedBy.SCALER
        if not bits:
            self._good_samples += draft.contents.size or 0
        if not report.stepped:
            self._bad_before |= bool(bits)
            return
        counted.steps += 1
        if report.skipped_by and not overflow:
            counted.samples_lost += self._good_samples
        self._bad_before, self._good_samples = False, 0
