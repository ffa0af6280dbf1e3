"""The first losses after a return are held against those that were recorded: what that says, and that it only says."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model import ComparisonOutcome, GenerationDied, GenerationExited, IncidentState, RunEnded
from monitor.core.state.first_losses import FIRST, LEAST, compared, keep_following
from monitor.core.state.rows import BatchLoss, FirstLosses
from monitor.core.state.signals import Signal, observe
from monitor.core.state.trace import BATCHES as TRACED
from monitor.core.summary import summary_of
from monitor.report import render
from tests.harness.simulation import SUPERVISOR_PID, Simulation
from trainer_hooks.wire.messages import OrderApplied, PlanApplied
from trainer_hooks.wire.run_documents import Exit

PROVEN, NOT_PROVEN, NOT_COMPARABLE = ComparisonOutcome
SEEDS, SPREADS = st.integers(0, 10_000), st.sampled_from([0.0, 0.02, 0.1, 0.3])


def losses(draw: random.Random, level: float, spread: float, count: int, first: int = 0) -> list[BatchLoss]:
    drawn = [level * math.exp(spread * draw.gauss(0.0, 1.0)) for _ in range(count)]
    return [BatchLoss(3, first + place, loss) for place, loss in enumerate(drawn)]


def signal_of(found: list[BatchLoss]) -> Signal:
    signal = Signal()
    for each in found:
        observe(signal, each.loss, may_be_negative=True)
    return signal


@settings(deadline=None, max_examples=200)
@given(SEEDS, SPREADS, st.sampled_from([8, 20, 63, 64, 300]), st.booleans())
def test_losses_of_a_training_that_is_as_it_was_prove_the_return(
    seed: int, spread: float, before: int, same: bool
) -> None:
    """Also where the same batches look different, as augmented ones do."""
    draw = random.Random(seed)
    signal = signal_of(losses(draw, 2.0, spread, before))
    recorded = losses(draw, 2.0, spread, FIRST) if same else []
    found = compared(FirstLosses(signal, recorded, seen=losses(draw, 2.0, spread, FIRST)), over=False)
    assert found is not None
    assert found.outcome is PROVEN, found.text
    assert ("the same batches" in found.text) is same


@settings(deadline=None, max_examples=200)
@given(SEEDS, SPREADS, st.booleans())
def test_losses_of_another_state_do_not(seed: int, spread: float, same: bool) -> None:
    draw = random.Random(seed)
    signal = signal_of(losses(draw, 2.0, spread, 300))
    recorded = losses(draw, 2.0, spread, FIRST) if same else []
    found = compared(FirstLosses(signal, recorded, seen=losses(draw, 20.0, spread, FIRST)), over=False)
    assert found is not None
    assert found.outcome is NOT_PROVEN, found.text


def test_the_same_batches_show_a_difference_that_the_level_does_not() -> None:
    draw = random.Random(1)
    signal, recorded = signal_of(losses(draw, 2.0, 0.02, 300)), losses(draw, 2.0, 0.02, FIRST)
    higher = [BatchLoss(each.epoch, each.batch, 1.2 * each.loss) for each in recorded]
    lower = [BatchLoss(each.epoch, each.batch, each.loss / 1.2) for each in recorded]
    for seen, where, outcome in (
        (recorded, recorded, PROVEN),
        (higher, recorded, NOT_PROVEN),
        (lower, recorded, NOT_PROVEN),
        (higher, [], PROVEN),
        (lower, [], PROVEN),
    ):
        found = compared(FirstLosses(signal, where, seen=seen), over=False)
        assert found is not None
        assert found.outcome is outcome, found.text


def test_too_few_losses_are_waited_for_and_then_not_compared() -> None:
    draw = random.Random(1)
    signal = signal_of(losses(draw, 2.0, 0.1, 300))
    assert compared(None, over=True) is None
    for count in range(FIRST):
        first = FirstLosses(signal, seen=losses(draw, 2.0, 0.1, count))
        assert compared(first, over=False) is None
        found = compared(first, over=True)
        assert found is not None
        assert found.outcome is (PROVEN if count >= LEAST else NOT_COMPARABLE)
    for unknown in (None, Signal(), signal_of(losses(draw, -2.0, 0.1, 20))):
        found = compared(FirstLosses(unknown, seen=losses(draw, 2.0, 0.1, FIRST)), over=False)
        assert found is not None
        assert found.outcome is NOT_COMPARABLE, found.text


def test_of_a_state_that_was_saved_early_the_losses_right_after_it_tell_the_level() -> None:
    draw = random.Random(1)
    signal = signal_of(losses(draw, 2.0, 0.1, 2))
    for level, outcome in ((2.0, PROVEN), (9.0, NOT_COMPARABLE)):
        seen = losses(draw, level, 0.1, FIRST)
        found = compared(FirstLosses(signal, after=losses(draw, 2.0, 0.1, LEAST), seen=seen), over=False)
        assert found is not None
        assert found.outcome is outcome
        found = compared(FirstLosses(signal, after=losses(draw, 2.0, 0.1, LEAST - 1), seen=seen), over=False)
        assert found is not None
        assert found.outcome is NOT_COMPARABLE


@settings(deadline=None, max_examples=200)
@given(SEEDS, st.integers(8, 60), st.floats(1.0, 1.1))
def test_a_young_loss_that_moves_on_as_it_has_moved_is_no_warning(seed: int, before: int, growth: float) -> None:
    """Seen on a YOLO training of few batches: 8.6, 2.3, 79, 57, 4.5 ... 33.9, then 113, and nothing was wrong."""
    draw = random.Random(seed)
    every = [BatchLoss(3, i, 2.0 * growth**i * math.exp(draw.gauss(0.0, 1.0))) for i in range(before + FIRST)]
    found = compared(FirstLosses(signal_of(every[:before]), seen=every[before:]), over=False)
    assert found is not None
    assert found.outcome is not NOT_PROVEN, found.text


def test_a_loss_that_was_as_high_shortly_before_the_save_is_no_warning() -> None:
    draw = random.Random(1)
    known = losses(draw, 2.0, 0.1, 200) + losses(draw, 20.0, 0.1, 3) + losses(draw, 2.0, 0.1, 20)
    for level, outcome in ((2.0, PROVEN), (15.0, NOT_COMPARABLE), (200.0, NOT_PROVEN)):
        found = compared(FirstLosses(signal_of(known), seen=losses(draw, level, 0.1, FIRST)), over=False)
        assert found is not None
        assert found.outcome is outcome, found.text


def test_losses_long_after_a_state_are_not_taken_for_those_right_after_it() -> None:
    """It was examined when the batches after it were forgotten; or the training went back to it in its process."""
    simulation = Simulation()
    simulation.noisy_batches(100)
    simulation.checkpoint("a", epoch=0, extra_batches=100)
    simulation.noisy_batches(FIRST + TRACED)
    (state,) = simulation.run.training.checkpoints
    assert [each.batch for each in state.following] == list(range(100, 100 + FIRST))
    state.following = []
    keep_following(simulation.run.training)
    assert state.following == []


class Night(Simulation):
    """Epochs of 200 batches; a snapshot after 120 of the first, and damage or death after 160."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(
            batches_per_epoch=200, epochs=20, framework="ultralytics", goes_back=True, act=True,
            supervisor_pid=SUPERVISOR_PID,
        )  # fmt: skip
        self.offset, self.level, self.drawing = 0, 2.0, random.Random(seed)
        self.known: dict[tuple[int, int], float] = {}  # the loss of each batch, which it has again
        self.some(120)
        self.checkpoint("a", epoch=0, extra_batches=120)
        self.some(40)

    def place(self, rank: int = 0, skipped: int = 0) -> tuple[int, int]:
        epoch, batch = super().place(rank, skipped)
        return epoch + (batch + self.offset) // 200, (batch + self.offset) % 200

    def some(self, batches: int, *, anew: bool = False) -> None:
        for _ in range(batches):
            drawn = math.exp(0.1 * self.drawing.gauss(0.0, 1.0))
            loss = drawn if anew else self.known.setdefault(self.place(), drawn)
            self.batch(self.level * loss, 3.0)

    def is_put_back(self) -> None:
        """After damage, in its process."""
        while self.pending is None:
            self.batch(math.nan, math.nan, cured=False)
        order, (epoch, batch) = self.pending, self.place()
        assert (order.kind, self.plans[order.plan].replay) == ("go_back", False)
        self.offset = 120 - self.counts[0].batches
        self.send(OrderApplied(self.now_s, order.id, "applied", "gone back to batch 120", epoch, batch, {}))

    def starts_again(self) -> None:
        """After a death, from the snapshot, over the same batches."""
        exit_ = Exit(number=1, code=None, signal=9, ended_s=self.now_s)
        self.feed(GenerationDied("night", exit_, "", self.now_s + 60.0, ""))
        plan = self.plans["plan-2.json"]
        assert plan.replay
        assert plan.snapshot is not None
        self.feed(GenerationExited("night", exit_, relaunch=True))
        self.restart(1, plan=plan.id)
        self.offset = 120
        self.send(PlanApplied(self.now_s, plan.id, "first step", 1, {}, ()))

    @property
    def said(self) -> str:
        return "\n".join(self.messages)


def test_a_return_over_other_batches_is_proven_by_the_level_and_said_everywhere() -> None:
    night = Night()
    night.is_put_back()
    night.some(FIRST - 1, anew=True)
    assert night.incident.action.first_losses is None
    night.some(1, anew=True)
    assert "the return is proven: the first 16 losses are at the level that the loss had when the state was saved" in (
        night.said
    )
    while night.incident.live:
        night.some(50, anew=True)
    assert night.incident.state is IncidentState.RESOLVED
    resolved = next(alert for alert in night.alerts if alert.kind == "resolved")
    summary = summary_of(night.run, night.run.training, night.incident, night.now_s)
    report = render(night.run, night.run.training, night.incident, night.now_s)
    for text in (resolved.text, " ".join(summary.lines()), report):
        assert "The return is proven: the first 16 losses are at the level" in text


def test_a_new_start_over_the_same_batches_is_proven_by_each_of_them() -> None:
    night = Night()
    night.starts_again()
    night.some(FIRST)
    assert "the return is proven: the first 16 losses are those of the same batches before" in night.said


@pytest.mark.parametrize("same", [True, False])
def test_a_mismatch_is_a_warning_and_nothing_is_done_about_it(*, same: bool) -> None:
    night = Night()
    night.starts_again() if same else night.is_put_back()
    orders = len(night.orders)
    night.level *= 1.35 if same else 1.9
    night.some(FIRST, anew=not same)
    found = night.incident.action.first_losses
    assert found is not None
    assert found.outcome is NOT_PROVEN, found.text
    alert = next(alert for alert in night.alerts if alert.kind == "losses_differ")
    assert (alert.severity, "went back" in alert.title) == ("warning", True)
    assert "The return is not proven: the first 16 losses are" in alert.text
    assert len(night.orders) == orders
    assert night.run.ledger.defects == 0


def test_a_training_that_ends_before_enough_losses_came_says_so() -> None:
    night = Night()
    night.is_put_back()
    night.some(2)
    night.feed(GenerationExited("night", Exit(number=1, code=0, signal=None, ended_s=night.now_s), relaunch=False))
    night.feed(RunEnded("night", "finished", ""))
    assert "the return is not comparable: fewer than 4 losses came since" in night.said


def test_the_comparison_survives_a_restart_of_the_daemon() -> None:
    night = Night()
    night.starts_again()
    night.some(8)
    night.reload()
    night.some(8)
    assert "are those of the same batches before" in night.said
