"""A training that recovered by itself declines its order to go back: nothing is taken from it, and that is said."""

from __future__ import annotations

import math
from typing import Any

import pytest

from monitor.core.model import ActionKind, IncidentState, ReceiptFound
from monitor.core.policy.situation import damage
from monitor.core.summary import summary_of
from tests.harness.simulation import SUPERVISOR_PID, Simulation
from trainer_hooks.wire.messages import Nonfinite, OrderApplied
from trainer_hooks.wire.plan import Plan, Receipt

DAMAGE = int(Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.PARAMETER)
SEEN = "weights, statistics, average and optimizer are finite, and so is the last batch"


class Training(Simulation):
    """Epochs of 200 batches, one saved; 60 batches later its weights are not finite."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            batches_per_epoch=200, epochs=20, framework="ultralytics", act=True, supervisor_pid=SUPERVISOR_PID,
            **options,
        )  # fmt: skip
        self.healthy(200)
        self.checkpoint("a", epoch=1)
        self.healthy(40)
        self.checkpoint("b", epoch=1, extra_batches=40)
        self.healthy(20)
        self.damaged()

    def healthy(self, batches: int) -> None:
        for _ in range(batches):
            self.noisy_batch()

    def damaged(self) -> None:
        self.batch(math.nan, math.nan, cured=False, nonfinite=DAMAGE)

    def _batch(self, rank: int, bits: int, **fields: Any) -> None:
        super()._batch(rank, fields.pop("nonfinite", bits), **fields)

    @property
    def plan(self) -> Plan:
        return self.plans[self.orders[-1].plan]

    def declines(self, *, by_receipt: bool = False) -> None:
        order, (epoch, batch) = self.orders[-1], self.place()
        if by_receipt:
            receipt = Receipt(
                order=order.id, generation=1, outcome="declined", detail=SEEN, epoch=epoch, batch=batch, read_back={},
                written_s=self.now_s,
            )  # fmt: skip
            self.feed(ReceiptFound("night", receipt))
        self.send(OrderApplied(self.now_s, order.id, "declined", SEEN, epoch, batch, {}))


@pytest.mark.parametrize("by_receipt", [False, True])
@pytest.mark.parametrize(("goes_back", "kind"), [(True, "go_back"), (False, "stop")])
def test_it_trains_on_and_the_incident_ends_by_itself(*, goes_back: bool, kind: str, by_receipt: bool) -> None:
    training = Training(goes_back=goes_back)
    assert (training.orders[-1].kind, training.plan.for_nonfinite) == (kind, True)
    training.healthy(1)
    training.declines(by_receipt=by_receipt)
    incident, state = training.incident, training.run.training
    assert (incident.state, incident.action.kind, incident.totals.rollbacks) == (
        IncidentState.WATCHING, ActionKind.GO_ON, 0,
    )  # fmt: skip
    assert state.ledger.rollbacks_used == 0
    assert damage(state, training.policy) is None
    summary = summary_of(training.run, state, incident, training.now_s)
    assert summary.done == (
        f"Nothing was gone back to: the training had recovered by itself before the order came: {SEEN}."
    )
    assert "bad batches are skipped" not in summary.now
    orders = len(training.orders)
    while incident.live:
        training.healthy(20)
    assert (incident.state, len(training.orders), training.generation) == (IncidentState.RECOVERED, orders, 1)
    told = [alert.kind for alert in training.alerts if alert.kind != "watch"]
    assert told == ["incident_opened", "goes_on", "resolved"]
    assert training.run.ledger.defects == 0


def test_damage_that_comes_back_is_another_incident_and_is_gone_back_from() -> None:
    training = Training(goes_back=True)
    training.healthy(1)
    training.declines()
    training.healthy(60)
    training.damaged()
    first, second = training.run.training.ledger.incidents
    assert first.state is IncidentState.RECOVERED
    assert (second.state, training.orders[-1].kind) == (IncidentState.MITIGATING, "go_back")
    assert training.run.ledger.defects == 0


def test_an_order_for_a_loss_that_is_too_high_can_t_be_declined() -> None:
    """Finite numbers prove nothing there; nor where a person asked."""
    training = Simulation(batches_per_epoch=400, epochs=20, act=True, supervisor_pid=SUPERVISOR_PID)
    for batches, loss in ((250, 1.0), (1, None), (50, 1.0), (300, 40.0)):
        if loss is None:
            training.checkpoint("b", epoch=0, extra_batches=250, startable=True)
            continue
        for _ in range(batches):
            training.noisy_batch(loss=loss)
    assert training.plans, training.messages
    assert not any(plan.for_nonfinite for plan in training.plans.values())
