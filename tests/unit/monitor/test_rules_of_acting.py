"""When the core acts again, which checkpoint it may go back to, and what it forgets: over its inputs and effects."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest

from monitor.core.drive import RunDriver
from monitor.core.model import (
    ActionKind,
    CheckpointExamined,
    ExamineCheckpoint,
    GenerationExited,
    IncidentState,
    Output,
    PlanWritten,
    RaiseAlert,
    RunEnded,
    SendOrder,
    Tick,
    Verdict,
    WritePlan,
)
from monitor.core.policy.settings import Policy, Rollback
from monitor.core.policy.table_settings import DecisionTable, WhenClean
from monitor.core.state.checkpoints import CHECKPOINTS_MAX, LEARNED_KEPT
from monitor.core.state.epochs import totals_of
from monitor.core.state.fold import RETENTION_S
from monitor.core.summary.time_cost import going_back
from monitor.vault.copies import Vault
from tests.harness.script import Script
from tests.harness.simulation import supervised
from tests.harness.trainer import BATCHES_PER_EPOCH, WALL_S, batch, training_started
from trainer_hooks.wire.messages import (
    BatchEnded,
    CheckpointSaved,
    Counts,
    EpochEnded,
    Event,
    Nonfinite,
    OrderApplied,
    PhaseChanged,
    TrainingEnded,
)
from trainer_hooks.wire.run_documents import Exit, Manifest, RunSpec
from trainer_hooks.wire.runfolder import RunFolder

COOL_DOWN = 30
POLICY = Policy(
    when_clean=WhenClean.ROLLBACK,
    table=DecisionTable(adjust_after=3, early_share=0.0),
    rollback=Rollback(cool_down_batches=COOL_DOWN, redo_limit_epochs=0.5, healthy_batches=5),
)


class Training:
    """A run that is fed by hand; what the core asked for, in order."""

    def __init__(self, policy: Policy = POLICY) -> None:
        spec = RunSpec(run="r", argv=("python",), cwd="/", created_s=WALL_S, act=True)
        self.driver = RunDriver("r", now_s=WALL_S, supervisor_pid=7)
        self.driver.open(spec, policy.model_dump_json())
        self.counts = Counts()
        self.number = 1  # of the training that its records are of
        self.effects: list[object] = []
        self.driver.start_generation()

    def start(self, ordinal: int = 1) -> None:
        """The trainer reports that it starts."""
        started = training_started(RunFolder(Path("/runs/r")))
        self.send(msgspec.structs.replace(started, ordinal=ordinal))

    def start_another(self, ordinal: int) -> None:
        """The training is over, and the next one of the run begins; it is the n-th of its process."""
        self.send(TrainingEnded(self.driver.now_s, "finished", "", 1, {}))
        self.number, self.counts = self.number + 1, Counts()
        self.start(ordinal)

    def send(self, record: BatchEnded | Event) -> None:
        """A record of the training arrives."""
        self.take(self.driver.send(record, training=self.number))

    def take(self, output: Output) -> None:
        """Carry out what a daemon would."""
        for effect in output.effects:
            self.effects.append(effect)
            if isinstance(effect, WritePlan):
                self.take(self.driver.feed(PlanWritten("r", effect.plan.id, "")))

    def batches(self, count: int, *, bad: bool = False, cured: bool = True) -> None:
        for _ in range(count):
            self.driver.now_s += 0.1
            more = msgspec.structs.replace(self.counts, batches=self.counts.batches + 1, steps=self.counts.steps + 1)
            if bad:
                more = msgspec.structs.replace(more, nonfinite_batches=more.nonfinite_batches + 1)
            self.counts = more
            record = batch(more, 1 + (more.batches - 1) // BATCHES_PER_EPOCH, bad)
            if bad and not cured:
                kinds = int(Nonfinite.LOSS | Nonfinite.PARAMETER)
                record = msgspec.structs.replace(record, nonfinite=kinds, cured=False, skipped_by="")
            self.send(record)

    def saved(self, epoch: int, *, ordinal: int = 1, verdict: Verdict = Verdict.SOUND) -> str:
        """A checkpoint is saved, adopted and examined; returns its path in the vault."""
        examined = self.spooled(epoch, ordinal=ordinal, verdict=verdict)
        self.take(self.driver.feed(examined))
        return examined.path

    def spooled(self, epoch: int, *, ordinal: int = 1, verdict: Verdict = Verdict.SOUND) -> CheckpointExamined:
        """A checkpoint is saved; returns what its examination will tell."""
        digest = f"{ordinal}-{epoch}".rjust(64, "0")
        manifest = Manifest(
            run="r", generation=1, rank=0, ordinal=ordinal, serial=epoch, file=f"{epoch}.pt", source="/out/last.pt",
            digest=digest, size=1, epoch=epoch, batches=self.counts.batches,
            nonfinite_batches=self.counts.nonfinite_batches, is_best=True, saved_s=self.driver.now_s,
            training=self.number,
        )  # fmt: skip
        self.send(CheckpointSaved(self.driver.now_s, f"{epoch}.pt.json", epoch, digest))
        return CheckpointExamined("r", manifest, f"/vault/{ordinal}-{epoch}.pt", verdict, ("finite",), 0.1)

    def asked(self, kind: type) -> list[object]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def obey(self) -> None:
        """The trainer does what the last order says, and goes on."""
        orders = self.asked(SendOrder)
        order = orders[-1].order  # type: ignore[attr-defined]
        self.send(OrderApplied(self.driver.now_s, order.id, "applied", "", 1, 1, {}))


def test_no_second_action_is_taken_before_the_first_had_its_chance() -> None:
    """The guard keeps the state clean, so the settings are adjusted; it comes back at once, and has to wait."""
    training = Training()
    training.start()
    training.batches(60)
    training.batches(3, bad=True)
    assert len(training.asked(WritePlan)) == 1
    training.obey()
    acted_at = training.counts.batches
    while training.counts.batches < acted_at + COOL_DOWN - 1:
        training.batches(1, bad=True)
        assert training.driver.state.training.ledger.incidents[-1].state is not IncidentState.GIVEN_UP, "it waits"
    assert len(training.asked(WritePlan)) == 1
    training.batches(2, bad=True)
    assert training.driver.state.training.ledger.incidents[-1].state is IncidentState.GIVEN_UP, "it never ends"


def test_no_checkpoint_of_another_training_of_the_script_is_chosen() -> None:
    """Two trainings in one script: the second one is damaged, and only the first one's checkpoints are clean.

    A hook of an earlier version tells both as training 1 of the run: their ordinals alone keep them apart.
    """
    training = Training()
    training.start(ordinal=1)
    training.batches(60)
    of_the_first = training.saved(3, ordinal=1)
    training.batches(20)
    training.start(ordinal=2)
    training.batches(40)
    training.batches(4, bad=True, cured=False)
    told = " ".join(f"{alert.title} {alert.text}" for alert in training.asked(RaiseAlert))  # type: ignore[attr-defined]
    incident = training.driver.state.training.ledger.incidents[0]
    assert incident.state is IncidentState.GIVEN_UP
    assert "there is no clean checkpoint" in told
    assert of_the_first not in told
    assert not training.asked(WritePlan)


@pytest.mark.parametrize("ordinal", [1, 2], ids=["in a process of its own", "in the same process"])
@pytest.mark.parametrize("late", [False, True], ids=["examined at once", "examined after the next one began"])
def test_no_checkpoint_of_another_training_of_the_run_is_chosen(ordinal: int, late: bool) -> None:
    """Two trainings of one run: the second one is damaged, and only the first one's checkpoints are clean."""
    training = Training()
    training.start()
    training.batches(60)
    of_the_first = training.spooled(3)
    if not late:
        training.take(training.driver.feed(of_the_first))
    training.batches(20)
    training.start_another(ordinal)
    if late:
        training.take(training.driver.feed(of_the_first))
    training.batches(100)
    training.batches(4, bad=True, cured=False)
    told = " ".join(f"{alert.title} {alert.text}" for alert in training.asked(RaiseAlert))  # type: ignore[attr-defined]
    first, second = training.driver.state.trainings.values()
    assert [checkpoint.path for checkpoint in first.checkpoints] == [of_the_first.path]
    assert (first.ledger.incidents, second.checkpoints) == ([], [])
    assert second.ledger.incidents[0].state is IncidentState.WATCHING
    assert "there is no clean checkpoint" in told
    assert "a stop would end the script and its other trainings" in told
    assert of_the_first.path not in told
    assert (training.asked(WritePlan), training.asked(SendOrder)) == ([], [])


def test_a_copy_that_can_not_be_adopted_is_told_to_the_training_that_saved_it(tmp_path: Path) -> None:
    """Whoever waits for the verdict would wait for ever."""
    training = Training()
    training.start()
    training.batches(60)
    training.start_another(2)
    training.batches(60)
    manifest = training.spooled(3, ordinal=2).manifest
    result = Vault(RunFolder(tmp_path)).examine("3.pt.json", manifest.digest, "r", 2)
    training.take(training.driver.feed(result))
    first, second = training.driver.state.trainings.values()
    assert [checkpoint.verdict for checkpoint in second.checkpoints] == [Verdict.UNVERIFIED]
    assert (first.checkpoints, second.ledger.copies.examining) == ([], [])


def test_the_same_checkpoint_is_named_where_it_is_of_the_training_itself() -> None:
    """What the test above rests on: but for the training it belongs to, the checkpoint would be taken."""
    training = Training()
    training.start(ordinal=2)
    training.batches(60)
    of_its_own = training.saved(3, ordinal=2)
    training.batches(40)
    training.batches(4, bad=True, cured=False)
    told = " ".join(alert.text for alert in training.asked(RaiseAlert))  # type: ignore[attr-defined]
    assert of_its_own in told


def test_what_was_learnt_is_kept_with_the_newest_checkpoints_only() -> None:
    training = Training()
    training.start()
    for epoch in range(1, LEARNED_KEPT + 5):
        training.batches(10)
        training.saved(epoch)
    kept = [checkpoint.epoch for checkpoint in training.driver.state.training.checkpoints if checkpoint.learned]
    assert kept == list(range(5, LEARNED_KEPT + 5))
    assert len(training.driver.state.training.checkpoints) == LEARNED_KEPT + 4


def test_a_run_leaves_the_state_a_day_after_its_end_and_not_before() -> None:
    training = Training()
    training.start()
    training.batches(5)
    training.take(
        training.driver.feed(
            GenerationExited("r", Exit(number=1, code=0, signal=None, ended_s=training.driver.now_s), relaunch=False)
        )
    )
    training.take(training.driver.feed(RunEnded("r", "finished", "")))
    training.driver.now_s += RETENTION_S - 1.0
    training.driver.feed(Tick())
    assert list(training.driver.core.fleet.runs) == ["r"]
    training.driver.now_s += 2.0
    training.driver.feed(Tick())
    assert list(training.driver.core.fleet.runs) == []


def test_a_run_that_goes_on_never_leaves_the_state() -> None:
    training = Training()
    training.start()
    training.driver.now_s += 10 * RETENTION_S
    training.driver.feed(Tick())
    assert list(training.driver.core.fleet.runs) == ["r"]


@pytest.mark.parametrize("known", [True, False], ids=["told by its hook", "found by the vault"])
def test_the_checkpoints_of_a_run_are_bounded_whoever_tells_of_them(known: bool) -> None:
    training = Training()
    training.start()
    training.batches(1)
    for epoch in range(CHECKPOINTS_MAX + 3):
        digest = str(epoch).rjust(64, "0")
        manifest = Manifest(
            run="r", generation=1, rank=0, ordinal=1, serial=1, file="x.pt", source="", digest=digest, size=1,
            epoch=epoch, batches=1, nonfinite_batches=0, is_best=False, saved_s=0.0,
        )  # fmt: skip
        if known:
            training.take(training.driver.send(CheckpointSaved(0.0, "x.pt.json", epoch, digest)))
        training.take(
            training.driver.feed(CheckpointExamined("r", manifest, "/vault/x", Verdict.SOUND, ("finite",), 0.1))
        )
    assert next(c.epoch for c in training.driver.state.training.checkpoints) == 3
    assert len(training.driver.state.training.checkpoints) == CHECKPOINTS_MAX
    assert len(training.asked(ExamineCheckpoint)) == (CHECKPOINTS_MAX + 3 if known else 0)


def test_snapshots_of_a_long_epoch_do_not_push_its_checkpoints_out() -> None:
    """With one every ten minutes the best epoch of a run of twelve days was forgotten after three and a half."""
    simulation = supervised(batches_per_epoch=100_000)
    simulation.restart(1)
    simulation.batch(1.0, 1.0)
    simulation.checkpoint("best", epoch=1, is_best=True)
    for number in range(1, CHECKPOINTS_MAX + 20):
        simulation.checkpoint(f"s{number}", epoch=1, extra_batches=number)
    found = simulation.run.training.checkpoints
    assert len(found) == CHECKPOINTS_MAX
    assert [c.digest for c in found if not c.is_snapshot] == ["best"]
    assert found[-1].extra_batches == CHECKPOINTS_MAX + 19


def test_a_new_generation_begins_without_the_training_phase_and_order_of_the_last() -> None:
    """A detector or an order that goes by the last process would judge, or stop, this one."""
    training = Training()
    training.start()
    training.take(training.driver.send(PhaseChanged(WALL_S, 1, "validate")))
    training.batches(60)
    training.batches(3, bad=True)
    state = training.driver.state
    assert (state.training.started is not None, state.training.phase, state.training.ledger.pending is not None) == (
        True,
        "validate",
        True,
    )
    training.driver.start_generation()
    state = training.driver.state
    assert (state.training.started, state.training.over, state.training.phase, state.training.ledger.pending) == (
        None,
        False,
        "idle",
        None,
    )


def test_a_generation_whose_exit_nobody_told_is_counted_when_the_next_one_begins() -> None:
    training = Training()
    training.start()
    training.batches(7)
    training.driver.start_generation()
    state = training.driver.state.training
    assert (state.totals.counts.batches, state.left_at.count if state.left_at else 0) == (7, 7)
    training.counts = Counts()
    training.batches(5)
    assert totals_of(state).batches == 12


def test_memory_is_learnt_anew_after_the_first_validation_of_a_generation_and_only_then() -> None:
    """Validation takes more than training does, and the allocator keeps it: that is the level from then on."""
    training = Training()
    training.start()
    seen = []
    for epoch in (1, 2):
        training.batches(BATCHES_PER_EPOCH)
        training.take(training.driver.send(EpochEnded(WALL_S, epoch, 10.0, (2.0,), {}, 0.5)))
        seen.append(training.driver.state.training.ranks[0].learned.memory.seen)
    assert seen[0] == 0
    assert seen[1] > 0


def test_a_second_action_begins_without_what_is_known_of_the_first() -> None:
    """The settings are adjusted, that does not help, and a rollback begins: nobody has carried it out yet."""
    training = Training()
    training.start()
    training.batches(BATCHES_PER_EPOCH)
    examined = training.spooled(1)
    training.take(training.driver.feed(examined))
    training.batches(round(0.8 * BATCHES_PER_EPOCH))
    training.batches(3, bad=True)
    training.obey()
    incident = training.driver.state.training.ledger.incidents[0]
    assert (incident.action.kind, incident.action.applied_s) == (ActionKind.ADJUST, training.driver.now_s)
    training.batches(COOL_DOWN + 1, bad=True)
    training.take(training.driver.feed(examined))
    action = incident.action
    assert action.kind is ActionKind.ROLLBACK
    assert (action.left_at, action.applied_s, action.resumed_s) == (None, None, None)
    assert going_back(incident)


def test_batches_that_arrive_after_the_exit_are_counted_once() -> None:
    """The exit and the records take different ways to the daemon; a record may also come a second time."""
    training = Training()
    training.start()
    training.batches(1, bad=True)
    training.batches(60)
    training.batches(1, bad=True)
    training.batches(60)
    training.batches(1, bad=True)
    before_last = training.counts
    now_s = training.driver.now_s
    training.take(
        training.driver.feed(GenerationExited("r", Exit(number=1, code=1, signal=None, ended_s=now_s), relaunch=True))
    )
    findings = training.driver.state.training.totals.findings.copy()
    training.batches(2)
    training.driver.send(batch(before_last))
    state = training.driver.state.training
    assert (totals_of(state).batches, totals_of(state).nonfinite_batches) == (125, 3)
    assert (state.totals.findings, training.driver.state.alive) == (findings, False)
    training.driver.start_generation()
    training.counts = Counts()
    training.batches(5)
    assert (totals_of(state).batches, totals_of(state).nonfinite_batches) == (130, 3)


def test_bad_batches_between_an_order_to_stop_and_its_answer_open_no_further_incident() -> None:
    training = Training()
    training.start()
    training.batches(9, bad=True, cured=False)
    state = training.driver.state.training
    assert [o.order.kind for o in training.effects if isinstance(o, SendOrder)] == ["stop"]
    assert [incident.state for incident in state.ledger.incidents] == [IncidentState.GIVEN_UP]
    assert state.ledger.counters.incidents == {"nonfinite/critical": 1}


def test_giving_up_is_final_for_the_generation_even_where_the_stop_is_refused() -> None:
    """One trouble, one incident, one message: 66 incidents came of one NaN batch once."""
    training = Training()
    training.start()
    training.batches(9, bad=True, cured=False)
    (order,) = [o.order for o in training.effects if isinstance(o, SendOrder)]
    training.send(OrderApplied(WALL_S, order.id, "refused", "not now", 1, 9, {}))
    training.batches(9, bad=True, cured=False)
    training.batches(100)
    training.batches(9, bad=True, cured=False)
    assert len(training.driver.state.training.ledger.incidents) == 1
    assert [alert.kind for alert in training.asked(RaiseAlert)] == [  # type: ignore[attr-defined]
        "watch",
        "incident_opened",
        "given_up",
    ]


def test_a_loss_that_stays_too_high_is_not_called_healthy_and_recovers_once_it_is_back() -> None:
    """A loop that refuses every change, so that nothing can be done: what is said of it stays true."""
    noise = random.Random(1)
    script = Script()
    script.start(1)

    def losses(level: float, count: int) -> None:
        script.batches(1, count, losses=[level * math.exp(noise.gauss(0, 0.05)) for _ in range(count)])
        for order in script.orders("adjust"):
            if (pending := script[1].ledger.pending) is not None and pending.order.id == order.id:
                script.answer(1, order, "refused")

    losses(0.85, 400)
    for _ in range(20):
        losses(2.3, 20)
    incident = script[1].incident
    assert incident is not None, script.said
    assert (incident.action.kind, incident.state) == (ActionKind.WATCH, IncidentState.WATCHING)
    assert "refused the order" in script.said
    assert "at the new learning rate" not in script.said
    assert script.said.count("opened") == 1
    for _ in range(40):
        losses(0.85, 20)
    (ended,) = script[1].ledger.incidents
    assert (ended.state, script[1].incident) == (IncidentState.RECOVERED, None)
    assert ended.outcome.endswith("healthy batches without any action")
