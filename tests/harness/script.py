"""A run whose script has several trainings, fed to the real core: one after the other, or some at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from monitor.core.drive import RunDriver
from monitor.core.model import (
    CheckpointExamined,
    Effect,
    ExamineCheckpoint,
    GenerationExited,
    Notify,
    Output,
    PlanWritten,
    RaiseAlert,
    SendOrder,
    Tick,
    Verdict,
    WritePlan,
)
from monitor.core.policy.settings import Policy, Rollback
from monitor.core.policy.table_settings import DecisionTable, WhenClean
from monitor.core.state.run import RunState, TrainingState
from tests.harness.trainer import BATCHES_PER_EPOCH, WALL_S, batch, training_started
from trainer_hooks.wire.messages import (
    BatchEnded,
    CheckpointSaved,
    Counts,
    Event,
    Nonfinite,
    Order,
    OrderApplied,
    PlanApplied,
    TrainingEnded,
)
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Exit, Manifest, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

RUN = "folds"
POLICY = Policy(
    when_clean=WhenClean.ROLLBACK,
    table=DecisionTable(adjust_after=3, early_share=0.0),
    rollback=Rollback(cool_down_batches=10, redo_limit_epochs=0.5, healthy_batches=5),
)


class Script:
    """What its trainings report, and what the core asked for."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.driver = RunDriver(RUN, now_s=WALL_S, supervisor_pid=7)
        self.effects: list[Effect] = []
        self.counts: dict[tuple[int, int], Counts] = {}  # by training and rank, of the present generation
        self._examined: dict[str, CheckpointExamined] = {}  # by digest
        spec = RunSpec(run=RUN, argv=("python", "folds.py"), cwd="/", created_s=WALL_S, act=True)
        self.driver.open(spec, policy.model_dump_json())
        self.driver.start_generation()

    def __getitem__(self, number: int) -> TrainingState:
        return self.run.trainings[number]

    @property
    def run(self) -> RunState:
        return self.driver.state

    @property
    def said(self) -> str:
        """Every line on the run's terminal."""
        return "\n".join(effect.text for effect in self.effects if isinstance(effect, Notify))

    @property
    def alerts(self) -> list[RaiseAlert]:
        return [effect for effect in self.effects if isinstance(effect, RaiseAlert)]

    @property
    def plans(self) -> list[Plan]:
        return [effect.plan for effect in self.effects if isinstance(effect, WritePlan)]

    def orders(self, kind: str = "stop") -> list[Order]:
        """Each once, however often it was sent."""
        sent = {e.order.id: e.order for e in self.effects if isinstance(e, SendOrder) and e.order.kind == kind}
        return list(sent.values())

    def take(self, output: Output) -> Output:
        """Carry out what a daemon would."""
        self.effects.extend(output.effects)
        for effect in output.effects:
            if isinstance(effect, WritePlan):
                self.take(self.driver.feed(PlanWritten(RUN, effect.plan.id, "")))
            elif isinstance(effect, ExamineCheckpoint) and (examined := self._examined.get(effect.digest)):
                self.take(self.driver.feed(examined))
        return output

    def send(self, number: int, record: BatchEnded | Event, rank: int = 0) -> Output:
        """A record of training `number` arrives."""
        return self.take(self.driver.send(record, rank, training=number))

    def start(self, number: int, *, ordinal: int = 1, guarded: bool = True, plan: str = "", rank: int = 0) -> None:
        """Training `number` begins, as the n-th of its process."""
        self.counts[number, rank] = Counts()
        started = training_started(RunFolder(Path("/runs") / RUN), pid=1000 + number)
        digest = f"{number}" * 64
        self.send(
            number,
            msgspec.structs.replace(
                started, ordinal=ordinal, arguments_digest=digest, guarded=guarded, plan_id=plan,
                save_dir=f"/out/{number}",
            ),
            rank,
        )  # fmt: skip

    def batches(self, number: int, count: int, *, bad: bool = False, damaged: bool = False, rank: int = 0,
                losses: Iterable[float] = ()) -> None:  # fmt: skip
        """So many batches of one training. `damaged`: they leave non-finite parameters behind."""
        given = iter(losses)
        for _ in range(count):
            self.driver.now_s += 0.1
            before = self.counts[number, rank]
            after = msgspec.structs.replace(before, batches=before.batches + 1, steps=before.steps + 1)
            if bad or damaged:
                after = msgspec.structs.replace(after, nonfinite_batches=before.nonfinite_batches + 1)
            self.counts[number, rank] = after
            record = batch(after, 1 + (after.batches - 1) // BATCHES_PER_EPOCH, bad or damaged)
            if damaged:
                bits = int(Nonfinite.LOSS | Nonfinite.PARAMETER)
                record = msgspec.structs.replace(record, nonfinite=bits, cured=False, skipped_by="")
            if (loss := next(given, None)) is not None:
                record = msgspec.structs.replace(record, loss=loss)
            self.send(number, record, rank)

    def end(self, number: int, how: str = "finished") -> None:
        self.send(number, TrainingEnded(self.driver.now_s, how, "", 1, {}))

    def saved(
        self, number: int, epoch: int, verdict: Verdict = Verdict.SOUND, extra_batches: int = 0
    ) -> CheckpointExamined:
        """A checkpoint is saved, adopted and examined; with `extra_batches` a snapshot."""
        examined = self.spooled(number, epoch, verdict, extra_batches)
        self._examined[examined.manifest.digest] = examined  # however often it is examined
        self.take(self.driver.feed(examined))
        return examined

    def spooled(
        self, number: int, epoch: int, verdict: Verdict = Verdict.SOUND, extra_batches: int = 0
    ) -> CheckpointExamined:
        """A checkpoint or snapshot is saved; what its examination will say."""
        counts, place = self.counts[number, 0], f"{epoch}-{extra_batches}" if extra_batches else f"{epoch}"
        digest = f"{self.driver.generation}{number}{place.replace('-', 'a')}".rjust(64, "0")
        name = f"g{self.driver.generation}-t{number}-r0-{epoch:05d}{'-snapshot' if extra_batches else ''}.pt"
        manifest = Manifest(
            run=RUN, generation=self.driver.generation, rank=0, ordinal=1, serial=epoch, file=name,
            source=f"/out/{number}/last.pt", digest=digest, size=1, epoch=epoch, batches=counts.batches,
            nonfinite_batches=counts.nonfinite_batches, is_best=True, saved_s=self.driver.now_s, training=number,
            extra_batches=extra_batches,
        )  # fmt: skip
        self.send(number, CheckpointSaved(self.driver.now_s, f"{name}.json", epoch, digest, False, extra_batches))
        return CheckpointExamined(RUN, manifest, f"/vault/{name}", verdict, ("finite",), 0.1, f"{name}.json")

    def answer(self, number: int, order: Order, outcome: str = "applied") -> None:
        """Training `number` answers the order, and has left if it stops."""
        self.send(number, OrderApplied(self.driver.now_s, order.id, outcome, "", 1, 1, {}))
        if order.kind == "stop" and outcome == "applied":
            self.end(number, "order")

    def relaunch(self) -> None:
        """The process ends, and the supervisor starts the next generation from its plan."""
        exit_ = Exit(number=self.driver.generation, code=75, signal=None, ended_s=self.driver.now_s)
        self.take(self.driver.feed(GenerationExited(RUN, exit_, relaunch=True)))
        self.driver.now_s += 10.0
        self.counts = {}
        self.take(self.driver.start_generation())

    def resume(self, number: int, plan: Plan) -> None:
        """Training `number` starts from its plan, and its first batch shows that the settings are in force."""
        self.start(number, plan=plan.id)
        self.send(number, PlanApplied(self.driver.now_s, plan.id, "first step", plan.start_epoch, {}, ()))

    def tick(self, seconds: float) -> None:
        self.driver.now_s += seconds
        self.take(self.driver.feed(Tick()))
