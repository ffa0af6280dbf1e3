"""One training as it is recorded: its start, phases, batches, checkpoints and end. Knows torch, no framework.

An integration calls it at its framework's own places. Nothing here waits for the device, unless the integration says
that the trainer has just waited itself.
"""

from __future__ import annotations

import functools
import time
from collections import deque

import torch

from trainer_hooks import steps
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import StepReport
from trainer_hooks.parameter_groups import GroupReader, Reading
from trainer_hooks.recorder.assess import Assessor, Counted, Totals, counts_of
from trainer_hooks.recorder.batch import (
    BatchAssessment,
    BatchContents,
    Number,
    PendingBatch,
    batch_ended,
    evidence_of,
    read_more,
)
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.tensors import NO_MEMORY, DelayedRead, is_away, memory, read
from trainer_hooks.updates import UpdateSampler
from trainer_hooks.wire.messages import BatchEnded, NonfiniteSeen, PhaseChanged, TrainingEnded

DELAYED_MAX = 64  # batches whose scalars may be on their way at once; beyond it the oldest is counted as dropped
EVIDENCE_MAX = 256  # NonfiniteSeen events of one training in a generation; after that they are only counted


class Recorder:
    """One training.

    `waits`: the trainer waits for the device in each batch, so its scalars can be read at once. `evidence`: each bad
    batch is also reported with its samples.
    """

    def __init__(
        self,
        probe: ProbeLike,
        fail_open: FailOpen,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        assessor: Assessor,
        counted: Counted,
        *,
        updates: UpdateSampler,
        waits: bool = False,
        evidence: bool = False,
    ) -> None:
        self.probe = probe
        self.counted = counted
        self.updates = updates
        self.used: tuple[Reading, ...] = ()  # by the optimizer step of this batch; empty: none was taken yet
        self.epoch = 0  # from 1
        self.batch = -1  # within the epoch, from 0
        self.batches_per_epoch = 0
        self.ended_s: float | None = None  # the batch before; None: a pause lies between
        self._fail_open = fail_open
        self._optimizer = optimizer
        self.groups = GroupReader(optimizer)
        self._device = device
        self._assessor = assessor
        self._on_cuda = device.type == "cuda"
        self._waits = waits
        self._evidence = evidence
        self._delayed: deque[tuple[PendingBatch, list[Number], DelayedRead]] = deque(maxlen=DELAYED_MAX)
        self._overtaken = 0  # batches that went unrecorded: DELAYED_MAX newer ones came before their scalars did
        self._watching: list[steps.Around] = []

    # --- at an optimizer step ----------------------------------------------------------------------------------------

    def watch_steps(self, around: steps.Around) -> None:
        """Have this called around each step that is taken, until `release`."""
        steps.watched_step(self._optimizer).add(around)
        self._watching.append(around)

    def release(self) -> None:
        """Leave the optimizer as it was."""
        while self._watching:
            steps.watched_step(self._optimizer).remove(self._watching.pop())
        steps.release(self._optimizer)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """The training steps with this optimizer now: who watches the steps of the old one watches those of this."""
        watching = list(self._watching)
        self.release()
        self._optimizer, self.groups = optimizer, GroupReader(optimizer)
        self.updates.follow(optimizer)
        for around in watching:
            self.watch_steps(around)

    @property
    def step_has_closure(self) -> bool:
        """True: the step that is being taken makes its gradients itself."""
        return steps.watched_step(self._optimizer).has_closure

    def read_settings(self) -> None:
        """The step is about to be taken: what its groups are set to now is what it uses."""
        self.used = self.groups.read()

    # --- at a batch's end --------------------------------------------------------------------------------------------

    def pending(
        self,
        contents: BatchContents,
        report: StepReport,
        loss: Number,
        parts: tuple[Number, ...] = (),
        scale: torch.Tensor | None = None,
        clip_norm: float | None = None,
        data_wait_s: float | None = None,
    ) -> PendingBatch:
        """The batch that ends now, with all that the recorder knows of it.

        Every scalar that may still be on the device is lined up in it, so that they travel together.
        """
        now_s, before_s = time.monotonic(), self.ended_s
        self.ended_s = now_s
        scalars: list[Number] = [loss, *parts]
        pending = PendingBatch(  # by position, which is quicker
            time.time(),
            now_s,
            self.epoch,
            self.batch,
            self.batches_per_epoch,
            contents,
            report,
            self.used or self.groups.read(),
            clip_norm,
            memory(self._device) if self._on_cuda else NO_MEMORY,
            None if before_s is None else now_s - before_s,
            data_wait_s,
            scalars,
            len(parts),
        )
        if report.norm is not None and report.norm_value is None:
            pending.reads_norm = True
            scalars.append(report.norm)
        if scale is not None:
            pending.reads_scale = True
            scalars.append(scale)
        if (update := self.updates.ratio) is not None:
            pending.reads_update, self.updates.ratio = True, None
            scalars.append(update)
        if report.measures:
            scalars.extend(report.measures)
        return pending

    def record(self, pending: PendingBatch, values: list[float] | None = None) -> BatchAssessment | None:
        """Record the batch whose scalars are lined up. None: they are still on their way, it is recorded later.

        `values`: what they are, where they have been read.
        """
        if values is None:
            if not self._on_cuda:  # what is elsewhere all the same is waited for
                values = [each.item() if isinstance(each, torch.Tensor) else float(each) for each in pending.scalars]
            elif self._waits:
                values = read(pending.scalars)
            else:
                values = self._read_or_delay(pending)
                if values is None:
                    return None
        report, at = pending.report, 1 + pending.parts_count
        assessed = BatchAssessment(values[0], tuple(values[1:at]), report.norm_value)
        if len(values) > at:
            read_more(assessed, pending, values[at:])
        self._assessor.assess(pending, assessed)
        pending.scalars, report.norm = (), None  # the loss would keep its whole graph until the record is sent
        if report.measures:
            report.measures = ()
        bad = bool(assessed.bits)
        self.probe.batch(functools.partial(self._record_of, pending, assessed, self.counted.totals()), bad)
        if bad and self._evidence:
            self.send_evidence(evidence_of(pending, assessed))
        return assessed

    def _read_or_delay(self, pending: PendingBatch) -> list[float] | None:
        away = [each for each in pending.scalars if isinstance(each, torch.Tensor) and is_away(each)]
        if not away:
            return read(pending.scalars)
        near: list[Number] = [each if is_away(each) else read([each])[0] for each in pending.scalars]
        self._overtaken += len(self._delayed) == DELAYED_MAX
        self._delayed.append((pending, near, DelayedRead(away)))
        self.read_delayed()
        return None

    def read_delayed(self) -> None:
        """Finish those batches whose scalars have arrived meanwhile."""
        while self._delayed:
            arrived = self._delayed[0][2].values()
            if arrived is None:
                return
            pending, near, _ = self._delayed.popleft()
            rest = iter(arrived)
            self.record(pending, [next(rest) if isinstance(each, torch.Tensor) else each for each in near])

    def _record_of(self, pending: PendingBatch, assessed: BatchAssessment, totals: Totals) -> BatchEnded:
        """On the sender's thread: what the probe has lost by then belongs to the record as well."""
        counts = counts_of(totals, self.probe.hook_errors, self.probe.dropped + self._overtaken)
        return batch_ended(pending, assessed, counts)

    def send_evidence(self, evidence: NonfiniteSeen) -> None:
        """Up to a bound; the records count on."""
        if self.counted.evidence < EVIDENCE_MAX:
            self.counted.evidence += 1
            self.probe.event(evidence)

    # --- phases, the end ---------------------------------------------------------------------------------------------

    def enter(self, phase: str, epoch: int) -> None:
        """From now on the trainer is busy with `phase`."""
        self.probe.event(PhaseChanged(time.time(), epoch, phase))

    def ended(self, how: str, detail: str, epoch: int, metrics: dict[str, float]) -> None:
        """The training is over. What is not sent yet goes out by itself."""
        self._fail_open.run("delayed", self.read_delayed)
        self._fail_open.run("release", self.release)
        send_end(self.probe, how, detail, epoch, metrics)


def send_end(probe: ProbeLike, how: str, detail: str, epoch: int, metrics: dict[str, float]) -> None:
    """The training of `probe` is over, recorded or not. `epoch` counts from 1; 0: none was begun."""
    probe.event(PhaseChanged(time.time(), max(epoch, 1), "idle"))
    probe.event(TrainingEnded(time.time(), how, detail, epoch, metrics))
    probe.retire()
