"""A loop written by hand: where it says that a batch, a pause, a checkpoint or the training is over.

Every method fails open: what goes wrong in it is counted and switched off, and the loop goes on. An order is carried
out at the end of a batch: to stop, or to put an older state or other settings in place while the loop goes on. One that
wants a new start from a plan is refused, since only the loop's author knows how it resumes, unless its script asks.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from trainer_hooks.crash import describe_exception
from trainer_hooks.fail_open import FailOpen
from trainer_hooks.guard import StepReport, look_at
from trainer_hooks.integrations.plain.arguments import Arguments
from trainer_hooks.integrations.plain.going_back import REFUSALS, GoingBack
from trainer_hooks.integrations.plain.plan_in_force import PlanInForce
from trainer_hooks.integrations.plain.planned_start import plan_for, refuse_to_start
from trainer_hooks.integrations.plain.saved_state import SavedState
from trainer_hooks.integrations.plain.successor import Successor
from trainer_hooks.orders import LeaveTraining
from trainer_hooks.parameter_groups import Reading
from trainer_hooks.recorder.assess import Counted, WatchingAssessor
from trainer_hooks.recorder.batch import BatchContents, Number
from trainer_hooks.recorder.healed import HealedBesideError, NotNeededError
from trainer_hooks.recorder.probe_like import ProbeLike
from trainer_hooks.recorder.recorder import Recorder
from trainer_hooks.recorder.settings import LoopSettings, SettingsWatch
from trainer_hooks.recorder.started import TrainingFacts, training_started
from trainer_hooks.snapshots.objects import StateMismatchError
from trainer_hooks.spool import Save
from trainer_hooks.tensors import parameters_of, total_norm
from trainer_hooks.trainings import TrainingName, call_site
from trainer_hooks.updates import UpdateSampler
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.words import OrderKind, OrderOutcome

if TYPE_CHECKING:
    from typing_extensions import Self

STOPS_RAISED_MAX = 2  # of one order: a loop that catches both will catch every other
_log = logging.getLogger("trainwarden")


@dataclass(frozen=True, slots=True)
class Watched:
    """What `watch` knows of a training before it begins."""

    facts: TrainingFacts
    updates: UpdateSampler
    optimizer: Any
    settings: SettingsWatch
    device: torch.device
    model: Any
    state: SavedState | None  # None: nothing of it can be saved and put back


class _Ended(NamedTuple):
    """What is known of a batch at its end. On a device it counts as healthy until its scalars have arrived."""

    stepped: bool
    healthy: bool


class Loop:
    """One training; `watch` makes it. Where no probe could be had, which was logged, every method does nothing."""

    def __init__(self, scaler: Any, measure_norm: bool) -> None:
        self.arguments = Arguments()
        self._optimizer: Any = None
        self._settings: SettingsWatch | None = None
        self._scaler = scaler
        self._measure_norm = measure_norm
        self._stop: Order | None = None  # carried out: the loop was left, or should have been
        self._stops_raised = 0
        self._norm: torch.Tensor | None = None
        self._recorder: Recorder | None = None
        self._successor: Successor | None = None  # None: there is no optimizer to follow
        self._going_back: GoingBack | None = None  # None: its state can't be put back
        self._plan_waits: Plan | None = None  # this process was started to go on from it: `resume` takes it
        self._own: tuple[Reading, ...] = ()  # the settings of the last step as the loop set them
        self._clip_norm: float | None = None  # what the loop clips to, where it says so
        self._fail_open = FailOpen(lambda _: None)

    def start(self, connect: Callable[[TrainingName], ProbeLike], watched: Watched) -> None:
        """Connect, and report the training. Raises what prevents it, SystemExit where its plan can't be read."""
        optimizer, facts = watched.optimizer, watched.facts
        self._optimizer, self._settings = optimizer, watched.settings
        probe = connect(TrainingName(call_site(), facts.arguments_digest))
        facts = dataclasses.replace(facts, ordinal=probe.identity.ordinal)
        if (plan := plan_for(probe.identity)) is not None:
            self._plan_waits = plan
            facts = dataclasses.replace(facts, plan_id=plan.id, start_epoch=plan.start_epoch)
        started = training_started(facts, optimizer, watched.device, probe.identity)
        probe.event(started)
        self._fail_open = FailOpen(probe.event)
        counted = Counted()
        assessor = WatchingAssessor(counted, lambda: look_at(watched.model))
        recorder = Recorder(
            probe, self._fail_open, optimizer, watched.device, assessor, counted, updates=watched.updates
        )
        recorder.batches_per_epoch = facts.batches_per_epoch
        self._recorder = recorder
        if watched.state is not None:
            self._going_back = GoingBack(watched.state, recorder, optimizer, started.group_rates)
        if optimizer.param_groups:
            self._fail_open.run("steps", self._watch_steps, recorder)
            self._successor = Successor(watched.model, self._take_over)
        self._enter(recorder, "train")

    def resume(self) -> tuple[int, int]:
        """Where to go on: how many epochs are over, and how many batches of the next one. (0, 0): at the beginning.

        These may be all of its batches, while its validation and all else at its end is still to come.
        Call it once, right before the loop, when everything is built. In a process that starts again after a crash or a
        hang it puts everything back that `watch` was given. A run is only started again from a snapshot where this was
        called. Exits with 75 where there is a plan that can't be followed.
        """
        plan, self._plan_waits = self._plan_waits, None
        if self._going_back is not None:
            try:
                return self._going_back.start(plan)
            except StateMismatchError as error:
                self.arguments.complain("resume", f"resume(): {error}")
        elif plan is not None:
            refuse_to_start(f"plan {plan.id} can't be followed: no state of this training can be put back")
        return 0, 0

    def _watch_steps(self, recorder: Recorder) -> None:
        def after(_optimizer: Any) -> None:
            self._fail_open.run("after step", self._after_step, recorder)

        def around(_optimizer: Any) -> Callable[[Any], None]:
            self._fail_open.run("before step", self._before_step, recorder)
            return after

        recorder.watch_steps(around)

    def _take_over(self, optimizer: Any) -> None:
        """The loop steps with this one now: everything that is read at its old one is read here."""
        recorder, settings = self._recorder, self._settings
        if recorder is not None and settings is not None:
            recorder.follow(optimizer)
            settings.follow(optimizer)
            if self._going_back is not None:
                self._going_back.follow(optimizer)
            self._optimizer = optimizer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The training is over. An exception is reported, and goes its way."""
        if error is None or isinstance(error, GeneratorExit):
            self.end()
        elif isinstance(error, KeyboardInterrupt):
            self._finish("interrupted", "")
        else:
            self._fail_open.run("end", lambda: self._finish("exception", describe_exception(error)))

    def batch(
        self,
        loss: Number,
        *,
        epoch: int | None = None,
        parts: tuple[Number, ...] = (),
        grad_norm: Number | None = None,
        batch_size: int | None = None,
        sequence_length: int | None = None,
        image_size: int | None = None,
        clip_norm: float | None = None,
        accumulate: int | None = None,
        data_wait_s: float | None = None,
    ) -> None:
        """A batch has ended. `epoch` counts from 1; `sequence_length` is the longest of the batch, in tokens.

        Raises LeaveTraining, a SystemExit, where an order says so. What can't be used of the arguments is left out.
        """
        recorder = self._recorder
        if recorder is None:
            self._stop_again()
            return
        if self._plan_waits is not None:
            refuse_to_start(f"plan {self._plan_waits.id} goes on within the training: the script must call resume()")
        read = self.arguments
        size, side = read.whole("batch_size", batch_size), read.whole("image_size", image_size)
        contents = BatchContents(size, () if side is None else (side,), read.whole("sequence_length", sequence_length))
        given = LoopSettings(read.optional("clip_norm", clip_norm), read.whole("accumulate", accumulate), size)
        waited_s = read.optional("data_wait_s", data_wait_s)
        norm = None if grad_norm is None else read.number("grad_norm", grad_norm)
        self._clip_norm = given.clip_norm
        fit = self._fail_open.run(
            "batch", self._ended, recorder, read.number("loss", loss), read.epoch(epoch, recorder.epoch),
            read.parts(parts), norm, contents, given, waited_s,
        )  # fmt: skip
        if fit is not None and self._going_back is not None:
            self._fail_open.run("snapshot", self._going_back.batch_ended, stepped=fit.stepped, healthy=fit.healthy)
        order = self._fail_open.run("next order", recorder.probe.order)
        if order is not None:
            self._carry_out(recorder, order)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around everything that is not training: `with loop.phase("validate"):`, or "save". It may take its time."""
        recorder = self._recorder
        if recorder is None:
            yield
            return
        self._enter(recorder, name)
        try:
            yield
        finally:
            if self._recorder is recorder:
                self._enter(recorder, "train")

    def saved(self, path: str | Path, *, epoch: int | None = None, is_best: bool = False) -> None:
        """A checkpoint was written: it is copied and examined. `epoch` is the last one it holds, from 1."""
        recorder = self._recorder
        if recorder is not None:
            last = self.arguments.epoch(epoch, recorder.epoch)
            self._fail_open.run("checkpoint", self._saved, recorder, path, last, bool(is_best))

    def end(self) -> None:
        """The training is over: nothing of ours stays on its optimizer. A later call does nothing."""
        self._finish("finished", "")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _enter(self, recorder: Recorder, phase: str) -> None:
        recorder.ended_s = None if phase != "train" else time.monotonic()  # a pause does not belong to a batch's time
        self._fail_open.run("phase", recorder.enter, phase, max(recorder.epoch, 1))

    def _stop_again(self) -> None:
        """Raise a stop once more where the script has caught it; where it catches that too, say so and let it train."""
        if self._stop is None:
            return
        self._stops_raised += 1
        if self._stops_raised <= STOPS_RAISED_MAX:
            raise LeaveTraining(self._stop)
        self.arguments.complain(
            "stop",
            f"the order to stop ({self._stop.reason}) was raised {STOPS_RAISED_MAX} times as SystemExit and the script "
            "caught it (except BaseException, or a bare except): let SystemExit pass. This training is no longer "
            "recorded",
        )

    def _saved(self, recorder: Recorder, path: Any, epoch: int, is_best: bool) -> None:
        counted, ordinal = recorder.counted, recorder.probe.identity.ordinal
        save = Save(epoch, ordinal, counted.batches, counted.nonfinite_batches, is_best)
        try:
            recorder.probe.checkpoint(Path(path).absolute(), save)
        except (OSError, TypeError) as error:
            self.arguments.complain(f"saved {path}", f"saved({path!r:.200}): {error}; no copy of it is kept")

    def _finish(self, how: str, detail: str) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._successor is not None:
                self._fail_open.run("successor", self._successor.forget)
            self._fail_open.run("end", recorder.ended, how, detail, recorder.epoch, {})

    def _carry_out(self, recorder: Recorder, order: Order) -> None:
        going_back = self._going_back
        if going_back is not None and order.kind in (OrderKind.GO_BACK, OrderKind.ADJUST):
            work = going_back.go_back if order.kind == OrderKind.GO_BACK else going_back.adjust
            self._fail_open.run("going back", self._do, recorder, order, work)
            return
        leaves = not order.plan or (going_back is not None and going_back.startable)
        if order.kind != OrderKind.STOP or not leaves:
            why = "this loop is written by hand: nobody but its author knows how it goes on from a plan"
            self._answer(recorder, order, OrderOutcome.REFUSED, why)
            return
        if going_back is not None and (healed := self._fail_open.run("order needed", going_back.not_needed, order)):
            self._answer(recorder, order, OrderOutcome.DECLINED, healed)
            return
        self._answer(recorder, order, OrderOutcome.APPLIED, "at the end of a batch")
        self._finish("order", order.reason)
        self._stop, self._stops_raised = order, 1
        raise LeaveTraining(order)

    def _do(self, recorder: Recorder, order: Order, work: Callable[[Order], tuple[str, dict[str, str]]]) -> None:
        try:
            done, read_back = work(order)
        except NotNeededError as error:
            healed = isinstance(error, HealedBesideError)
            self._answer(recorder, order, OrderOutcome.HEALED if healed else OrderOutcome.DECLINED, str(error))
        except REFUSALS as error:
            self._answer(recorder, order, OrderOutcome.REFUSED, str(error))
        except Exception as error:
            self._answer(recorder, order, OrderOutcome.FAILED, f"{type(error).__name__}: {error}")
            raise
        else:
            self._answer(recorder, order, OrderOutcome.APPLIED, done, read_back)

    def _answer(
        self, recorder: Recorder, order: Order, outcome: str, detail: str, read_back: dict[str, str] | None = None
    ) -> None:
        settle, at = recorder.probe.settle, (recorder.epoch, recorder.batch)
        self._fail_open.run("order", settle, order, outcome, detail, *at, read_back or {})

    def _before_step(self, recorder: Recorder) -> None:
        plan = self._plan
        if plan is not None:
            plan.after_step()  # where the step before raised
        recorder.read_settings()
        self._own = recorder.used
        recorder.updates.steps_left -= 1
        if not recorder.updates.steps_left:
            recorder.updates.before()
        if self._measure_norm and getattr(self._optimizer, "grad_scale", None) is None:
            self._norm = None if recorder.step_has_closure else total_norm(parameters_of(self._optimizer))
        if plan is not None:
            plan.before_step(self._optimizer, None if recorder.step_has_closure else self._clip_norm)
            recorder.read_settings()

    def _after_step(self, recorder: Recorder) -> None:
        if self._plan is not None:
            self._plan.after_step()
        recorder.updates.after()
        if self._measure_norm and recorder.step_has_closure:  # its gradients came into being within it
            self._norm = total_norm(parameters_of(self._optimizer))

    @property
    def _plan(self) -> PlanInForce | None:
        return None if self._going_back is None else self._going_back.in_force

    def _ended(
        self,
        recorder: Recorder,
        loss: Number | None,
        epoch: int,
        parts: tuple[Number, ...],
        grad_norm: Number | None,
        contents: BatchContents,
        given: LoopSettings,
        data_wait_s: float | None,
    ) -> _Ended:
        recorder.batch = recorder.batch + 1 if epoch == recorder.epoch else 0
        recorder.epoch = epoch
        norm, self._norm = self._norm if grad_norm is None else grad_norm, None
        stepped, plan = bool(recorder.used), self._plan
        if self._successor is not None:
            self._fail_open.run("successor", self._successor.batch_ended, self._optimizer, stepped=stepped)
        report = StepReport(stepped=stepped)
        if isinstance(norm, torch.Tensor):
            report.norm = norm
        elif norm is not None:
            report.norm_value = float(norm)
        if plan is not None and not stepped:  # the record says what a step would have used
            recorder.read_settings()
            self._own, recorder.used = recorder.used, plan.readings(recorder.used)
        clip_norm = given.clip_norm if plan is None else plan.clip_norm(given.clip_norm)
        pending = recorder.pending(
            contents,
            report,
            0.0 if loss is None else loss,
            parts,
            scale=getattr(self._scaler, "_scale", None),
            clip_norm=clip_norm,
            data_wait_s=data_wait_s,
        )
        own = self._own if plan is not None and self._own else pending.used
        recorder.used = self._own = ()
        pending.loss_known = loss is not None
        assessed = recorder.record(pending)
        if self._settings is not None:
            for change in self._settings.changes(own, given, epoch=epoch, batch=recorder.batch):
                recorder.probe.event(change)
        return _Ended(stepped, assessed is None or not assessed.bits)
