"""The limits of what the core judges by and reacts to: just at each of them, and one beyond."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest

from monitor.core.detectors import load_all
from monitor.core.detectors.overfitting import NEAR, ROWS_MAX, STRIDE
from monitor.core.detectors.step_time import PERIOD_MAX
from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.cause_table import CauseFamily, Item
from monitor.core.diagnosis.evidence.data import named_sample, same_sample
from monitor.core.diagnosis.evidence.rise import SPIKES_SHARE_MAX, spikes_before
from monitor.core.diagnosis.rates import NEAR_AFTER_MAX, NEAR_BEFORE_MAX, WarmUp
from monitor.core.diagnosis.shifts import SHIFTS_MAX, _of_generations
from monitor.core.diagnosis.signal_samples import NORM
from monitor.core.diagnosis.verdict import CAUSES_MAX, weigh
from monitor.core.model import EpochStatus, Finding, Position, Severity
from monitor.core.policy.incidents import FINDINGS_MAX, on_findings
from monitor.core.policy.settings import Policy, Strengthen
from monitor.core.policy.stack_collection import RANKS_MAX, STOOD_CHARS_MAX, TAKEN_MAX, stood
from monitor.core.policy.strengthen import RAMP_SHARE_MAX, strengthen
from monitor.core.policy.transaction import Transaction
from monitor.core.state.batches import BAD_NORMS_MAX
from monitor.core.state.blame import ALPHA
from monitor.core.state.rows import EpochRow
from monitor.core.state.signals import DRIFT_MAX, DRIFT_STEP, RING, Signal, observe
from monitor.report.what_happened import what_happened
from tests.bounds.test_core_bounds import driven
from tests.harness.simulation import Simulation, calm, noisy
from tests.harness.trainer import WALL_S, batch, training_started
from tests.unit.monitor.diagnosis.test_shifts import storm
from tests.unit.monitor.test_stacks import hung
from tests.unit.monitor.test_strengthen import TRAINING, USER
from trainer_hooks.wire.messages import Counts, EpochEnded, NonfiniteSeen
from trainer_hooks.wire.runfolder import RunFolder


@pytest.mark.parametrize("limit", [-NEAR_BEFORE_MAX, NEAR_AFTER_MAX])
def test_the_end_of_a_long_warm_up_is_near_for_a_limited_number_of_batches(limit: int) -> None:
    ends = 1_000_000  # its shares are far larger than the limits
    assert WarmUp(ends + limit, ends).near_end
    assert not WarmUp(ends + limit + (1 if limit > 0 else -1), ends).near_end


def test_a_ramp_takes_a_limited_share_of_what_is_left() -> None:
    rules = Strengthen()
    at_limit = rules.warmup_epochs / RAMP_SHARE_MAX

    def ramp(epochs_left: float) -> int:
        return strengthen(USER, USER, rules, TRAINING, restart=True, epochs_left=epochs_left).ramp_batches

    whole = round(rules.warmup_epochs * TRAINING.batches_per_epoch)
    assert ramp(at_limit) == ramp(at_limit + 1) == whole
    shorter = at_limit - 1
    assert ramp(shorter) == round(shorter * RAMP_SHARE_MAX * TRAINING.batches_per_epoch) < whole


def test_ranks_beyond_the_limit_are_not_asked_for_stacks() -> None:
    training = hung(ranks=RANKS_MAX + 2)
    assert sorted(order.rank for order in training.wanted.values()) == list(range(RANKS_MAX))


def test_stacks_are_kept_up_to_a_limit_the_newest() -> None:
    training = hung(ranks=RANKS_MAX)
    stacks, asked = training.run.training.ledger.stacks, []
    for hang in range(1, 2 + TAKEN_MAX // RANKS_MAX):
        while stacks.spent < hang:
            training.silent(1)
        for order in list(training.wanted.values())[-RANKS_MAX:]:
            asked.append((stacks.streak.count, order.rank))
            training.answer(order)
            assert [(taken.count, taken.rank) for taken in stacks.taken] == asked[-TAKEN_MAX:]
        training.go_on(20, ranks=RANKS_MAX)
    assert len(asked) > TAKEN_MAX


def test_where_a_thread_stands_is_told_in_a_limited_number_of_characters() -> None:
    def told(chars: int) -> str:
        return stood((f"MainThread\n  {'f' * chars}",))

    assert told(STOOD_CHARS_MAX - 1) == "f" * (STOOD_CHARS_MAX - 1)
    assert told(STOOD_CHARS_MAX) == told(STOOD_CHARS_MAX + 1) == "f" * STOOD_CHARS_MAX


@pytest.mark.parametrize("at_once", [1, FINDINGS_MAX - 1, FINDINGS_MAX + 2])
def test_findings_of_an_incident_are_kept_up_to_a_limit_the_first(at_once: int) -> None:
    driver = driven()
    driver.send(batch(Counts(batches=1)))
    at = Position(1, 1, 0, 1)
    found = [
        Finding(f"d{number}", "nonfinite", Severity.CRITICAL, 0, at, at, "loss", 0.0, 0.0, "it says so")
        for number in range(FINDINGS_MAX + 2)
    ]
    tx = Transaction(driver.state, driver.state.training, Policy(act=False), WALL_S)
    on_findings(tx, found[:at_once])
    on_findings(tx, found[at_once:])
    [incident] = tx.ledger.incidents
    assert incident.findings == found[:FINDINGS_MAX]
    assert incident.findings_left_out == 2
    told = what_happened(driver.state, driver.state.training, incident, WALL_S)
    assert told[-1] == "- And 2 more findings of other detectors."


def test_the_drift_of_a_signal_grows_to_a_limit_and_falls_from_there() -> None:
    draw, signal = random.Random(1), Signal()
    for _ in range(300):
        observe(signal, math.exp(draw.gauss(0.0, 0.1)))
    reached = []
    while len(reached) < DRIFT_MAX:
        observe(signal, math.exp(len(reached)))
        reached.append(signal.drift)
    assert max(reached) == reached[-1] == DRIFT_MAX
    assert reached == sorted(reached)
    observe(signal, math.exp(-1.0))
    assert signal.drift < DRIFT_MAX - DRIFT_STEP


@pytest.mark.parametrize("fewer", [0, 1])
def test_a_sample_of_every_bad_batch_is_evidence_unless_chance_explains_it(fewer: int) -> None:
    """Once in each of two epochs: N samples, each with a chance of 1 / N squared, must be rarer than ALPHA / 6."""
    driver = driven()
    started = training_started(RunFolder(Path("/runs/r")))
    driver.send(msgspec.structs.replace(started, samples=round(6 / ALPHA) + 1 - 2 * fewer))
    for epoch in (1, 2):
        driver.send(NonfiniteSeen(WALL_S, epoch, 0, 1, None, (), None, True, ("a.jpg",), False, ""))
    case = Case(driver.state.training, "nonfinite", Position(1, 1, 0, 1), 0, ())
    assert len(case.seen) == 2
    assert bool(same_sample(case)) == (not fewer)
    assert not named_sample(case), "what explains the bad batches is not only named"


@pytest.mark.parametrize("settings", [SHIFTS_MAX - 1, SHIFTS_MAX + 4])
def test_the_settings_that_changed_are_told_up_to_a_limit_the_last(settings: int) -> None:
    training = noisy(3)
    training.noisy_batches(300)
    for number in range(settings):
        training.setting(f"s{number}", "on", "off", "")
    training.noisy_batches(20)
    changed = storm(training, batch_size=32)
    told = [name for name in changed if name.startswith("setting/")]
    assert "batch_size" in changed
    assert len(changed) == SHIFTS_MAX
    kept = [f"setting/s{number}" for number in range(settings)][-SHIFTS_MAX:]
    assert told == kept[: len(told)]


@pytest.mark.parametrize("settings", [SHIFTS_MAX - 1, SHIFTS_MAX + 4])
def test_settings_that_differ_from_the_start_before_are_told_up_to_a_limit_in_their_order(settings: int) -> None:
    names = [f"s{number:02}" for number in range(settings)]
    training = noisy(4, batches_per_epoch=200, settings=dict.fromkeys(names, "on"))
    training.noisy_batches(400)
    training.restart(start_epoch=3, **dict.fromkeys(names, "off"))
    training.noisy_batches(120)
    case = Case(training.run.training, "nonfinite", Position(2, 3, 120, 120), 0, ())
    assert [each.name for each in _of_generations(case)] == [f"setting/{name}" for name in names[:SHIFTS_MAX]]
    changed = storm(training)
    assert len(changed) <= SHIFTS_MAX
    assert sum(name.startswith("setting/") for name in changed) >= SHIFTS_MAX - 4


def test_causes_are_kept_up_to_a_limit_the_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has fewer families for each kind of trouble than would show it: more are put into it."""
    families = [
        CauseFamily(f"f{number}", "a title", frozenset({"nonfinite"}), (Item(float(number), lambda _: "so"),), "a test")
        for number in range(1, CAUSES_MAX + 3)
    ]
    case = Case(driven().state.training, "nonfinite", Position(1, 1, 0, 1), 0, ())
    for kept in (CAUSES_MAX, CAUSES_MAX + 2):
        monkeypatch.setitem(weigh.__globals__, "FAMILIES", families[:kept])
        assert [cause.family for cause in weigh(case)] == [
            f"f{number}" for number in range(kept, kept - CAUSES_MAX, -1)
        ]


@pytest.mark.parametrize(
    ("epochs", "best", "found"),
    [
        (ROWS_MAX, 1, True),
        (ROWS_MAX + STRIDE, 1, False),  # it is too far back
        (ROWS_MAX + STRIDE, 20, True),
        (ROWS_MAX - 1, 20, True),
        (ROWS_MAX + STRIDE - 1, 20, False),  # this epoch is not looked at, the next one is
    ],
)
def test_of_a_long_training_the_last_epochs_are_looked_at_and_only_every_tenth(
    epochs: int, best: int, found: bool
) -> None:
    training = Simulation(detectors={"overfitting": load_all()["overfitting"]})
    calm(training, 1, random.Random(1))
    training.run.training.epochs[:] = [
        EpochRow(
            1, number, 1000, 0.0, status=EpochStatus.ENDED, loss_sum=1.0 if number > epochs - 3 else 2.0, loss_count=1,
            fitness=0.9 if best <= number < best + NEAR else 0.5,
        )
        for number in range(1, epochs + 1)
    ]  # fmt: skip
    training.send(EpochEnded(0.0, epochs, 1.0, (), {}, 0.5))
    assert [each.summary.split(" and ")[0] for each in training.findings("overfitting")] == [
        f"overfitting: the fitness was best in epoch {best}"
    ] * found


@pytest.mark.parametrize("more", [0, 1])
def test_spikes_that_passed_are_evidence_up_to_a_limited_share_of_the_batches_before(more: int) -> None:
    training, before = noisy(1), 256  # as many as are at hand
    training.noisy_batches(300)
    spikes = int(SPIKES_SHARE_MAX * before) + more
    for number in range(before):
        training.noisy_batch(norm=30.0 if number % 16 == 9 and number // 16 < spikes else 1.0)
    first = training.run.training.position
    assert first is not None
    case = Case(training.run.training, "divergence", first, 0, ())
    assert len(case.numbers(NORM, "before")) == before
    told = f"{spikes} single batches before it had more than ten times the usual gradient norm, and passed"
    assert spikes_before(case) == ("" if more else told)


@pytest.mark.parametrize("enough", [True, False])
def test_a_slower_training_is_told_once_a_limited_part_of_a_long_epoch_was_watched(enough: bool) -> None:
    training = noisy(1, batches_per_epoch=1_000_000)
    training.noisy_batches(PERIOD_MAX + 3 * RING if enough else PERIOD_MAX - 3 * RING)
    training.noisy_batches(2 * RING, compute_s=3.0)
    assert any(found.startswith("step_time/") for found in training.found) == enough


@pytest.mark.parametrize("more", [0, 1])
def test_norms_that_are_not_finite_are_remembered_up_to_a_limit_the_last(more: int) -> None:
    training = Simulation(batches_per_epoch=1000)
    for _ in range(BAD_NORMS_MAX + more):
        training.batch(2.0, math.nan)
    learned = training.run.training.ranks[0].learned
    assert learned.bad_norms == list(range(1 + more, BAD_NORMS_MAX + more + 1))
