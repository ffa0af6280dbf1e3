"""What a person asks for: other settings in place, whatever the table says."""

from __future__ import annotations

import pytest

from monitor.core.model import CommandGiven, CommandKind, Family, IncidentState
from monitor.core.summary import summary_of
from tests.harness.script import RUN, Script
from tests.harness.simulation import Simulation, supervised
from trainer_hooks.wire.messages import OrderApplied

ASKED = CommandGiven("night", CommandKind.ADJUST, "ann")


def healthy(batches: int = 100, **options: object) -> Simulation:
    """A training that has none but good batches behind it."""
    training = supervised(batches_per_epoch=1000, **options)
    training.restart()
    go_on(training, batches)
    return training


def go_on(training: Simulation, batches: int) -> None:
    for i in range(batches):
        training.batch(2.0 + 0.01 * (i % 7), 3.0 + 0.02 * (i % 5))


def answer(training: Simulation, outcome: str = "applied") -> None:
    """The training's hook answers the order."""
    order = training.orders[-1]
    training.pending = None
    training.send(OrderApplied(training.now_s, order.id, outcome, "why", 1, 100, {}))


def test_settings_are_changed_in_place_and_the_change_is_watched() -> None:
    training = healthy()
    training.feed(ASKED)
    assert [str(order.kind) for order in training.orders] == ["adjust"]
    plan = training.plans[training.orders[0].plan]
    assert "learning rate (lr0)" in {change.setting for change in plan.changes}
    assert plan.checkpoint is None
    answer(training)
    assert (training.incident.family, training.incident.state) == (Family.OPERATOR, IncidentState.WATCHING)
    said = summary_of(training.run, training.run.training, training.incident, training.now_s)
    assert said.happened == "A person asked for other settings."
    go_on(training, 2000)
    assert training.incident.state is IncidentState.RESOLVED
    assert len(training.orders) == 1


def test_a_refused_change_leaves_the_training_as_it_is() -> None:
    training = healthy()
    training.feed(ASKED)
    answer(training, "refused")
    go_on(training, 2000)
    assert len(training.orders) == 1
    assert not training.incident.live


def test_a_second_wish_waits_for_the_first_answer() -> None:
    training = healthy()
    training.feed(ASKED)
    training.feed(ASKED)
    assert len(training.orders) == 1
    assert training.messages[-1] == "another action has begun already"


@pytest.mark.parametrize(("batches", "options", "why"), [
    (100, {"act": False}, "cannot adjust: this run is only watched"),
    (0, {}, "cannot adjust: no batch of the training has ended yet"),
])  # fmt: skip
def test_where_it_can_not_be_done_it_is_said(batches: int, options: dict[str, object], why: str) -> None:
    training = healthy(batches, **options)
    training.feed(ASKED)
    assert training.messages[-1] == why
    assert training.orders == []


def test_a_rollback_goes_to_the_newest_clean_checkpoint_and_without_one_nothing_is_stopped() -> None:
    wish = CommandGiven(RUN, CommandKind.ROLLBACK, "ann")
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.take(script.driver.feed(wish))
    assert script.orders() == []
    assert "no clean checkpoint" in script.said
    script = Script()
    script.start(1)
    script.batches(1, 60)
    script.saved(1, 1)
    script.batches(1, 60)
    script.take(script.driver.feed(wish))
    (order,) = script.orders()
    plan = script.plans[-1]
    assert plan.order == order.id
    assert plan.checkpoint is not None
    assert plan.checkpoint.epoch == 1
    assert script[1].incident is not None
    assert script[1].incident.family == Family.OPERATOR
