"""A training whose epoch takes six hours goes back by minutes, and its report says both in plain words."""

from __future__ import annotations

import pytest

from monitor.core.model import GenerationDied, GenerationExited
from monitor.core.summary import summary_of
from monitor.report import render
from monitor.report.top_lines import top_lines
from tests.harness.simulation import SUPERVISOR_PID, Simulation
from trainer_hooks.wire.messages import EpochEnded, Nonfinite, OrderApplied, PlanApplied
from trainer_hooks.wire.run_documents import Exit

BATCHES, BATCH_S, EVERY = 720, 30.0, 20  # an epoch of 6 hours, a snapshot every 10 minutes
DAMAGE = Nonfinite.LOSS | Nonfinite.GRADIENT | Nonfinite.PARAMETER


class Night(Simulation):
    """One whole epoch, and batches of the second."""

    def __init__(self, batches: int) -> None:
        super().__init__(
            batches_per_epoch=BATCHES, epochs=50, framework="ultralytics", goes_back=True, act=True,
            supervisor_pid=SUPERVISOR_PID,
        )  # fmt: skip
        self.before = 0  # batches that the state holds which this generation began with, or went back to
        self.trains(BATCHES + batches)

    def place(self, rank: int = 0, skipped: int = 0) -> tuple[int, int]:
        done = self.before + skipped + (self.counts[rank].batches if rank in self.counts else 0)
        return 1 + done // BATCHES, done % BATCHES

    def trains(self, batches: int) -> None:
        for _ in range(batches):
            self.noisy_batch(compute_s=BATCH_S, wait_s=0.0)
            epoch, batch = self.place()
            if batch == 0:
                self.send(EpochEnded(self.now_s, epoch - 1, BATCHES * BATCH_S, (1.0, 1.0), {}, 0.5))
                self.checkpoint(f"epoch{epoch - 1}", epoch=epoch - 1)
            elif batch % EVERY == 0:
                self.checkpoint(f"epoch{epoch}-{batch}", epoch=epoch - 1, extra_batches=batch)

    def is_ruined_and_goes_back(self) -> None:
        while self.pending is None:
            self.noisy_batch(bad=DAMAGE, cured=False, compute_s=BATCH_S, wait_s=0.0)
        order, (epoch, batch) = self.pending, self.place()
        snapshot = self.plans[order.plan].snapshot
        assert snapshot is not None
        self.before = BATCHES + snapshot.extra_batches - self.counts[0].batches
        self.send(OrderApplied(self.now_s, order.id, "applied", "gone back", epoch, batch, {}))

    def is_killed_and_goes_on(self) -> None:
        over = Exit(number=1, code=None, signal=9, ended_s=self.now_s)
        self.feed(GenerationDied("night", over, "", self.now_s + 60.0, ""))
        plan = self.plans["plan-2.json"]
        assert plan.snapshot is not None
        self.feed(GenerationExited("night", over, relaunch=True))
        self.now_s += 45.0
        self.restart(2, plan=plan.id)
        self.before = BATCHES + plan.snapshot.extra_batches
        self.send(PlanApplied(self.now_s, plan.id, "first step", 2, {}, ()))

    @property
    def report(self) -> str:
        return render(self.run, self.run.training, self.incident, self.now_s)

    @property
    def top(self) -> str:
        return "\n".join(top_lines(summary_of(self.run, self.run.training, self.incident, self.now_s)))


@pytest.mark.parametrize(
    ("batches", "snapshot", "cost", "instead"),
    [
        (715, 700, "8 min 0 s: 16 batches to train again", "716 batches, 5 h 58 min"),
        (375, 360, "8 min 0 s: 16 batches to train again", "376 batches, 3 h 8 min"),
    ],
)
def test_minutes_are_trained_again_where_it_would_have_been_hours(
    batches: int, snapshot: int, cost: str, instead: str
) -> None:
    night = Night(batches)
    night.is_ruined_and_goes_back()
    night.trains(60)
    assert f"- **Time lost:** {cost}. Without snapshots it would have been {instead}." in night.top
    assert f"- without snapshots: {instead}" in night.report
    assert f"Back to batch {snapshot} of epoch 2" in night.report
    assert "Roll back in its process: the state is damaged" in night.report
    assert f"1 of {batches + 1} batches in epoch 2 gave NaN or infinity" in night.top, "the pass that was given up"
    assert f"- Epoch 2: 1 of {batches + 1} batches not finite" in night.report


def test_after_a_kill_the_new_start_is_counted_beside_the_minutes() -> None:
    night = Night(715)
    night.is_killed_and_goes_on()
    night.trains(20)
    said = "8 min 45 s: 15 batches to train again and 1 min 15 s without training."
    instead = "Without snapshots it would have been 715 batches, 5 h 59 min in all."
    assert f"- **Time lost:** {said} {instead}" in night.top, night.top
