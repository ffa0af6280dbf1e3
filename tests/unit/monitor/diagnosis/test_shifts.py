"""What changed: numbers, settings, versions, samples, ranks and phases, each told when it did and only then."""

from __future__ import annotations

import pytest

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.robust import SHARP
from monitor.core.diagnosis.shifts import _of_generations
from monitor.core.model import Position, Shift
from tests.harness.noise import FORWARD, HEALTHY
from tests.harness.simulation import Simulation, noisy
from tests.unit.monitor.diagnosis.causes import names
from trainer_hooks.wire.messages import Nonfinite


def storm(training: Simulation, **fields: object) -> dict[str, Shift]:
    """Every ninth batch is bad, until an incident has opened; what changed, by name."""
    for i in range(40):
        training.noisy_batch(bad=FORWARD if i % 9 == 2 else HEALTHY, samples=names(training.draw), **fields)  # type: ignore[arg-type]
    found = training.incident.diagnosis
    assert found is not None
    return {shift.name: shift for shift in found.shifts}


def test_where_nothing_changed_only_the_symptom_is_told() -> None:
    training = noisy(1)
    training.noisy_batches(300)
    assert set(storm(training)) <= {"loss", "grad_norm"}


def test_a_batch_size_that_doubled_is_told_before_the_symptom() -> None:
    training = noisy(2)
    training.noisy_batches(300)
    changed = storm(training, batch_size=32)
    assert next(iter(changed)) == "batch_size"
    assert (changed["batch_size"].before, changed["batch_size"].after) == ("16", "32")
    assert changed["batch_size"].delta > 0.98  # two batches of the new size came before the first bad one
    assert changed["batch_size"].text == "The batch size rose from 16 to 32 (x 2) since the onset."


def test_a_setting_that_changed_is_told_with_its_reason_and_distance() -> None:
    training = noisy(3)
    training.noisy_batches(300)
    training.setting("mosaic", "on", "off", "mosaic closed")
    training.noisy_batches(20)
    shift = storm(training)["setting/mosaic"]
    assert shift.effect == SHARP / 2, "what has a reason is less of a news than what has none"
    expected = "Setting mosaic went from on to off, 2.2 % of an epoch (22 batches) before the onset (mosaic closed)."
    assert shift.text == expected


def test_versions_and_settings_that_differ_between_two_starts_are_told() -> None:
    training = noisy(4, batches_per_epoch=200, settings={"lr0": "0.01"})
    training.noisy_batches(400)
    training.restart(start_epoch=3, lr0="0.02")
    training.noisy_batches(120)
    changed = storm(training)
    assert (changed["setting/lr0"].before, changed["setting/lr0"].after) == ("0.01", "0.02")


@pytest.mark.parametrize(("plan", "told"), [("", {"setting/lr0", "setting/resume"}), ("p1", {"setting/lr0"})])
def test_what_our_own_new_start_sets_is_no_difference(plan: str, told: set[str]) -> None:
    own = {"lr0": "0.01", "resume": "False"}
    training = noisy(4, batches_per_epoch=200, settings=own, framework="ultralytics")
    training.noisy_batches(400)
    training.restart(start_epoch=3, plan=plan, lr0="0.02", resume="epoch2.pt")
    training.noisy_batches(120)
    case = Case(training.run.training, "nonfinite", Position(2, 3, 120, 120), 0, ())
    assert {each.name for each in _of_generations(case)} == told


def test_a_tensor_and_an_epochs_edge_are_told() -> None:
    training = noisy(5, batches_per_epoch=300)
    training.noisy_batches(300)
    for _ in range(20):
        training.noisy_batch(bad=FORWARD | Nonfinite.BUFFER, first_bad="model.3.bn.running_var")
    found = training.incident.diagnosis
    assert found is not None
    texts = [shift.text for shift in found.shifts]
    assert "The first bad tensor is model.3.bn.running_var." in texts
    assert "It began with the first batches of epoch 2." in texts


def test_a_rank_that_is_bad_alone_is_told() -> None:
    """Gradients are shared, losses are not."""
    training = noisy(6)
    for _ in range(200):
        training.noisy_batch(rank=0)
        training.noisy_batch(rank=1)
    for i in range(40):
        training.noisy_batch(rank=0, bad=Nonfinite.GRADIENT if i % 9 == 2 else HEALTHY)
        training.noisy_batch(rank=1, bad=FORWARD if i % 9 == 2 else HEALTHY)
    found = training.incident.diagnosis
    assert found is not None
    (rank,) = [shift for shift in found.shifts if shift.name == "rank"]
    assert "on rank 1 alone" in rank.text
    assert found.verdict == ""
