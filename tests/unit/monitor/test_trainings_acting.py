"""Orders, plans, answers, stacks and checkpoints of several trainings of one run: each reaches the one it is for."""

from __future__ import annotations

import msgspec
import pytest

from monitor.core.model import (
    ActionKind,
    CheckpointExamined,
    CommandGiven,
    CommandKind,
    EndTraining,
    EpochStatus,
    ExamineCheckpoint,
    GenerationExited,
    IncidentState,
    KeepCheckpoints,
    LookAtTraining,
    ReceiptFound,
    StacksTaken,
    Verdict,
)
from monitor.core.state.epochs import totals_of
from monitor.core.state.projection import pace_s
from tests.harness.script import RUN, Script
from trainer_hooks.wire.messages import StacksSeen
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit


def two_with_checkpoints() -> Script:
    """Two trainings at the same time, each with a checkpoint that is clean, and in its second epoch."""
    script = Script()
    for number in (1, 2):
        begin(script, number)
    return script


def begin(script: Script, number: int) -> None:
    script.start(number)
    script.batches(number, 100)
    script.saved(number, 1)
    script.batches(number, 60)


def one_going_back() -> tuple[Script, Plan]:
    """Training 1 is damaged and ordered to go back, and before it has answered its script begins training 2."""
    script = Script()
    begin(script, 1)
    script.batches(1, 4, damaged=True)
    begin(script, 2)
    return script, script.plans[-1]


def test_a_plan_and_its_order_name_the_training() -> None:
    script = two_with_checkpoints()
    script.batches(2, 4, bad=True)
    assert [(plan.training, plan.arguments_digest, plan.save_dir) for plan in script.plans] == [(2, "2" * 64, "/out/2")]
    assert [order.training for order in script.orders("adjust")] == [2]
    assert (script[1].incident, script[1].ledger.pending) == (None, None)


def test_a_training_goes_back_to_its_own_checkpoint() -> None:
    script, plan = one_going_back()
    assert plan.checkpoint is not None
    assert [plan.training, *(order.training for order in script.orders())] == [1, 1]
    assert plan.checkpoint.path == script[1].checkpoints[0].path


def test_an_answer_counts_only_from_the_training_that_was_asked() -> None:
    script, _ = one_going_back()
    order = script.orders()[0]
    script.answer(2, order, "refused")
    assert script[1].ledger.pending is not None
    script.answer(1, order)
    assert (script[1].ledger.pending, script[1].ledger.counters.orders) == (None, {"stop/applied": 1})
    assert script[2].ledger.counters.orders == {}


def test_a_receipt_reaches_the_training_whose_order_it_answers() -> None:
    script, _ = one_going_back()
    order = script.orders()[0]
    receipt = Receipt(
        order=order.id, generation=1, outcome="applied", detail="", epoch=2, batch=1, read_back={}, written_s=0.0,
        training=1,
    )  # fmt: skip
    script.take(script.driver.feed(ReceiptFound(RUN, receipt)))
    assert (script[1].ledger.pending, script[1].ledger.leaving) == (None, True)
    assert script[2].ledger.counters.orders == {}


def test_a_relaunch_goes_on_with_the_training_of_the_plan_and_leaves_a_finished_one_alone() -> None:
    script, plan = one_going_back()
    script.end(2)
    finished = [msgspec.msgpack.encode(each) for each in (script[2].epochs, script[2].totals.findings)]
    script.answer(1, script.orders()[0])
    script.relaunch()
    script.resume(1, plan)
    script.batches(1, 40)
    incident = script[1].incident
    assert incident is not None
    assert (incident.state, incident.totals.batches_discarded) == (IncidentState.WATCHING, 64)
    assert (totals_of(script[1]).batches, totals_of(script[1]).nonfinite_batches) == (204, 4)
    assert [row.status for row in script[1].epochs][:2] == [EpochStatus.ENDED, EpochStatus.DISCARDED]
    assert (totals_of(script[2]).batches, script[2].how, script[2].generation) == (160, "finished", 1)
    assert not any(c.abandoned for c in script[2].checkpoints)
    left = [EpochStatus.ENDED, EpochStatus.LEFT]
    assert [row.status for row in script[2].epochs] == left, "as the end of its generation left them"
    assert msgspec.msgpack.encode(script[2].totals.findings) == finished[1]


def test_a_finished_training_that_a_relaunch_redoes_enters_it_at_its_first_record() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 130)
    script.end(1)
    script.start(2)
    script.batches(2, 60)
    script.relaunch()
    assert (script[1].generation, script[1].over) == (1, True)
    assert script[2].generation == 2, "it was not over"
    script.start(1)
    script.batches(1, 20)
    assert (script[1].generation, script[1].over, totals_of(script[1]).batches) == (2, False, 150)
    assert script[1].ranks[0].learned.signals["loss"].seen == 20, "learned anew"
    assert [(row.generation, row.batches) for row in script[1].epochs] == [(1, 100), (1, 30), (2, 20)]


def test_the_next_training_of_the_script_does_not_close_an_incident_whose_rollback_is_under_way() -> None:
    """A child has left for its rollback; its parent starts the next child before the supervisor ends everything."""
    script = Script()
    begin(script, 1)
    script.batches(1, 4, damaged=True)
    script.answer(1, script.orders()[0])
    begin(script, 2)
    incident = script[1].ledger.incidents[0]
    assert incident.state is IncidentState.MITIGATING
    script.relaunch()
    script.resume(1, script.plans[0])
    script.batches(1, 5)
    assert (incident.state, script[1].ledger.counters.rollbacks) == (IncidentState.WATCHING, {"applied": 1})
    assert script[1].ranks[0].learned.signals["loss"].seen > 5, "what was learned comes back with the checkpoint"


def test_a_training_that_begins_anew_without_a_plan_learns_anew() -> None:
    script, plan = one_going_back()
    script.answer(1, script.orders()[0])
    script.relaunch()
    script.resume(1, plan)
    script.batches(1, 40)
    script.relaunch()
    assert script[1].incident is not None
    assert script[1].incident.action.target, "it went back once"
    script.start(1)
    script.batches(1, 3)
    assert script[1].ranks[0].learned.signals["loss"].seen == 3


def test_nothing_is_decided_for_another_training_while_the_script_is_about_to_start_again() -> None:
    """One plan starts the next generation: a second one of the same name would lose the first."""
    script, plan = one_going_back()
    script.batches(2, 20, damaged=True)
    assert script.plans == [plan]
    assert script[2].incident is not None
    assert (script[2].incident.state, script[2].ledger.pending) == (IncidentState.WATCHING, None)
    script.answer(1, script.orders()[0], "refused")
    script.batches(2, 1, damaged=True)
    assert "a stop would end the script and its other trainings too" in script.said


def test_a_stop_of_one_training_that_ended_by_itself_ends_no_other() -> None:
    """It was given up, and finished before it saw the order. The next one is healthy, however long it takes."""
    script = Script()
    script.start(1, guarded=False)
    script.batches(1, 20)
    script.batches(1, 4, damaged=True)
    assert script[1].ledger.incidents[0].state is IncidentState.GIVEN_UP
    asked = script.orders()
    script.end(1)
    script.start(2, ordinal=2)
    for _ in range(100):
        script.batches(2, 1)
        script.tick(10.0)
    assert not [effect for effect in script.effects if isinstance(effect, EndTraining)]
    assert {order.training for order in asked} == {1}
    assert script.orders() == asked


def test_a_person_stops_every_training_that_goes_on() -> None:
    script = two_with_checkpoints()
    script.take(script.driver.feed(CommandGiven(RUN, CommandKind.STOP, "ann")))
    assert sorted(order.training for order in script.orders()) == [1, 2]
    script.answer(1, script.orders()[0])
    assert script[2].ledger.pending is not None


def test_a_stop_of_the_run_goes_on_to_the_training_that_begins_next() -> None:
    script = Script()
    script.start(1)
    script.batches(1, 10)
    script.take(script.driver.feed(CommandGiven(RUN, CommandKind.STOP, "ann")))
    script.end(1)
    script.start(2, ordinal=2)
    assert [order.training for order in script.orders()] == [1, 2]
    script.answer(2, script.orders()[1])
    script.start(3, ordinal=3)
    assert len(script.orders()) == 2, "it was obeyed"


def test_an_order_obeyed_by_any_training_of_the_process_is_no_failure() -> None:
    """An older supervisor writes no outcome with the exit: the core decides."""
    script = two_with_checkpoints()
    script.take(script.driver.feed(CommandGiven(RUN, CommandKind.STOP, "ann")))
    script.answer(1, script.orders()[0])
    left = Exit(number=1, code=75, signal=None, ended_s=script.driver.now_s)
    script.take(script.driver.feed(GenerationExited(RUN, left, relaunch=False)))
    assert not [alert for alert in script.alerts if alert.kind == "run_failed"]


@pytest.mark.parametrize("both_finished", [True, False])
def test_a_crash_counts_as_a_failure_unless_every_training_had_finished(both_finished: bool) -> None:
    script = two_with_checkpoints()
    script.end(2)
    if both_finished:
        script.end(1)
    left = Exit(number=1, code=1, signal=None, ended_s=script.driver.now_s)
    script.take(script.driver.feed(GenerationExited(RUN, left, relaunch=False)))
    assert bool([alert for alert in script.alerts if alert.kind == "run_failed"]) is not both_finished


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_an_examined_checkpoint_reaches_its_training() -> None:
    script = Script()
    for number in (1, 2):
        script.start(number)
        script.batches(number, 100)
    second, first = script.spooled(2, 1), script.spooled(1, 1)
    for examined in (first, second):
        script.take(script.driver.feed(examined))
    assert [[c.path for c in script[n].checkpoints] for n in (1, 2)] == [[first.path], [second.path]]
    assert [script[n].ledger.copies.examining for n in (1, 2)] == [[], []]


def test_a_copy_that_nobody_could_take_is_told_to_the_training_that_waits_for_it() -> None:
    """It has no manifest that would name the training: the effect does."""
    script = Script()
    for number in (1, 2):
        script.start(number)
        script.batches(number, 100)
    lost = script.spooled(2, 1)
    script.start(3)
    asked = [effect for effect in script.effects if isinstance(effect, ExamineCheckpoint)][-1]
    assert asked.training == 2
    nothing = msgspec.structs.replace(lost.manifest, training=asked.training, file="", epoch=0)
    script.take(script.driver.feed(CheckpointExamined(RUN, nothing, "", Verdict.UNVERIFIED, ("gone",), 0.0)))
    assert [len(script[n].checkpoints) for n in (1, 2, 3)] == [0, 1, 0]
    assert (script[2].checkpoints[0].verdict, script[2].ledger.copies.examining) == (Verdict.UNVERIFIED, [])


def test_a_copy_of_a_training_that_was_never_heard_of_is_no_other_ones() -> None:
    """The daemon was away for all of it, and found the copy in the spool."""
    script = Script()
    script.start(1)
    script.batches(1, 100)
    known = script.saved(1, 1)
    stranger = msgspec.structs.replace(known.manifest, training=5, digest="5" * 64)
    given = CheckpointExamined(RUN, stranger, "/vault/5.pt", Verdict.SOUND, ("finite",), 0.1, "g1-t5-r0-00001.pt.json")
    script.take(script.driver.feed(given))
    assert [c.path for each in script.run.trainings.values() for c in each.checkpoints] == [known.path]


def test_what_one_training_keeps_never_drops_what_another_has() -> None:
    """The other one's copies are in doubt for now, since they were saved after the onset of a live incident."""
    script = Script()
    for number in (1, 2):
        script.start(number)
        script.batches(number, 60)
    script.batches(2, 1, bad=True)
    for epoch in range(1, 7):
        script.batches(2, 6)
        script.saved(2, epoch)
    for epoch in range(7, 10):
        script.batches(2, 1)
        script.saved(2, epoch)
    believed = {c.digest for c in script[2].checkpoints if not script[2].dropped(c)}
    script.batches(2, 3, bad=True)
    assert script[2].incident is not None
    assert script[2].incident.onset.count == 61
    for epoch in range(1, 3):
        script.saved(1, epoch)
        script.batches(1, 6)
    keeps = [set(effect.digests) for effect in script.effects if isinstance(effect, KeepCheckpoints)]
    assert believed <= keeps[-1]
    assert {c.digest for c in script[1].checkpoints} <= keeps[-1]


# --- a hang -----------------------------------------------------------------------------------------------------------


def test_the_stacks_of_a_training_that_stands_still_are_asked_of_it_and_told_of_it() -> None:
    script = two_with_checkpoints()
    while not any(isinstance(effect, LookAtTraining) for effect in script.effects):
        script.batches(2, 1)
        script.tick(1.0)
    asked = script.orders("stacks")
    assert {order.training for order in asked} == {1}
    look = next(effect for effect in script.effects if isinstance(effect, LookAtTraining))
    assert (look.training, look.order) == (1, asked[0].id)
    seen = StacksSeen(script.driver.now_s, asked[0].id, "", 60.0, "py-spy", ("main\n  train.py:7 in step",))
    script.take(script.driver.feed(StacksTaken(RUN, 1, 0, seen)))
    assert (len(script[1].ledger.stacks.taken), script[2].ledger.stacks.taken) == (1, [])
    assert pace_s(script[2]) is not None


def test_two_trainings_that_stand_still_at_the_same_batch_are_told_apart() -> None:
    script = two_with_checkpoints()
    while len(script.orders("stacks")) < 2:
        script.tick(1.0)
    for order in script.orders("stacks"):
        seen = StacksSeen(script.driver.now_s, order.id, "", 60.0, "hook", ("main\n  train.py:7 in step",))
        script.send(order.training, seen)
    told = [alert.id for alert in script.alerts if alert.kind == "stacks"]
    assert len(told) == len(set(told)) == 2


def test_actions_are_of_one_training_only() -> None:
    """What is decided for one reads the budget of that one."""
    script, _ = one_going_back()
    assert script[1].incident is not None
    assert script[1].incident.action.kind is ActionKind.ROLLBACK
    assert (script[1].ledger.rollbacks_used, script[2].ledger.rollbacks_used) == (1, 0)


def test_a_training_that_is_damaged_again_after_a_rollback_and_can_not_be_stopped_is_reported_once() -> None:
    """What was done before must not hide that no action is possible now."""
    script, plan = one_going_back()
    script.answer(1, script.orders()[0])
    script.relaunch()
    script.resume(1, plan)
    script.start(2)
    script.batches(1, 20)
    script.batches(1, 40, damaged=True)
    reported = [alert for alert in script.alerts if "no action is possible" in alert.title]
    assert len({alert.id for alert in reported}) == len(reported) == 1
    assert script.said.count("no action: ") == 1
