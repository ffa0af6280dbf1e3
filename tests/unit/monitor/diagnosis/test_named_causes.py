"""A cause is named with its culprit, and a proof wins whatever else speaks for another cause."""

from __future__ import annotations

import pytest

from monitor.core.diagnosis.position_text import before_onset, distance
from monitor.core.diagnosis.rates import WarmUp
from monitor.core.model import Diagnosis
from monitor.core.summary import likely_cause
from tests.harness.noise import FORWARD, HEALTHY
from tests.harness.simulation import Simulation, noisy
from tests.unit.monitor.diagnosis.causes import climb, names
from trainer_hooks.wire.messages import Nonfinite
from trainer_hooks.wire.words import OUT_OF_MEMORY

BROKEN = "images/0007.png"


def diagnosis(training: Simulation) -> Diagnosis:
    found = training.incident.diagnosis
    assert found is not None
    return found


def once_an_epoch_it_is_bad(training: Simulation, epochs: int, an_epoch: int = 150) -> None:
    for _ in range(epochs):
        at = training.draw.randrange(an_epoch)
        for batch in range(an_epoch):
            hit = batch == at
            samples = (*names(training.draw), BROKEN) if hit else ()
            training.noisy_batch(bad=FORWARD | Nonfinite.BUFFER if hit else HEALTHY, samples=samples)


def test_a_setting_that_jumped_right_before_the_onset_wins_outright() -> None:
    """However much the rise itself looks like a rate that was too high all along, or like the end of warm-up."""
    training = noisy(1, warm_up=400, settings={"warmup_epochs": "0.4"}, rate=0.01)
    training.noisy_batches(400)
    training.setting("learning_rate/weight", "0.01", "0.3")
    training.noise.rate = 0.3
    training.noisy_batches(4)
    climb(training, 15, 40.0, 300.0)
    found = diagnosis(training)
    assert found.verdict == "settings_changed"
    assert found.causes[0].score >= 2 * found.causes[1].score
    assert "learning_rate/weight went from 0.01 to 0.3" in likely_cause(training.incident)


def test_a_setting_that_the_schedule_changed_is_no_such_cause() -> None:
    training = noisy(1, rate=0.01)
    training.noisy_batches(400)
    training.setting("learning_rate/weight", "0.01", "0.3", "the scheduler")
    training.noise.rate = 0.3
    training.noisy_batches(4)
    climb(training, 15, 40.0, 300.0)
    assert diagnosis(training).verdict == "learning_rate"


def test_a_sample_of_all_bad_batches_is_named_although_the_data_changed_before() -> None:
    """Mosaic was closed, and only since then one image shows."""
    training = noisy(2, batches_per_epoch=150)
    training.noisy_batches(450)
    training.setting("mosaic", "on", "off", "mosaic closed")
    once_an_epoch_it_is_bad(training, 6)
    found = diagnosis(training)
    assert found.verdict == "bad_input"
    assert likely_cause(training.incident) == f"A bad sample: {BROKEN}."
    assert f"sample {BROKEN} was in each of the 6 bad batches whose samples are known" in found.causes[0].speaks_for


def test_the_data_is_not_to_blame_while_one_sample_is_suspected() -> None:
    training = noisy(2, batches_per_epoch=20)
    training.noisy_batches(80)
    training.setting("mosaic", "on", "off", "mosaic closed")
    once_an_epoch_it_is_bad(training, 3, an_epoch=20)
    found = diagnosis(training)
    assert found.verdict in ("", "bad_input")
    assert any("chance alone" in text for cause in found.causes for text in cause.speaks_for)


def test_a_sample_of_few_bad_batches_is_mentioned_and_is_no_verdict() -> None:
    training = noisy(3, batches_per_epoch=150)
    training.noisy_batches(300)
    for _ in range(7):
        for batch in range(150):
            hit = batch in (10, 50, 90)
            samples = (*names(training.draw), *((BROKEN,) if batch == 50 else ())) if hit else ()
            training.noisy_batch(bad=FORWARD if hit else HEALTHY, samples=samples)
    found = diagnosis(training)
    texts = [text for cause in found.causes if cause.family == "bad_input" for text in cause.speaks_for]
    assert any(f"sample {BROKEN} was in 7 of the 20 bad batches" in text for text in texts), texts
    assert BROKEN not in likely_cause(training.incident)


def test_a_component_that_alone_is_bad_every_time_is_named() -> None:
    training = noisy(4)
    training.noisy_batches(400)
    for i in range(60):
        training.noisy_batch(bad=FORWARD if i % 12 == 3 else HEALTHY, bad_parts=(1,), samples=names(training.draw))
    component = training.run.training.started
    assert component is not None
    assert likely_cause(training.incident).endswith(f": {component.part_names[1]}.")


def test_a_batch_size_that_the_trainer_halved_after_an_out_of_memory_error_is_a_line_and_a_setting() -> None:
    training = noisy(5)
    training.noisy_batches(300)
    training.setting("batch_size", "32", "16", OUT_OF_MEMORY)
    training.setting("batch_size", "16", "8", OUT_OF_MEMORY)
    training.noisy_batches(20)
    training.noisy_batches(60, bad=FORWARD)
    found = diagnosis(training)
    (line,) = [text for text in found.notes if "out-of-memory" in text]
    assert line.startswith("The trainer halved the batch size after an out-of-memory error: 32 -> 16 -> 8, at epoch 1")
    assert "setting/batch_size" in {shift.name for shift in found.shifts}


@pytest.mark.parametrize(
    ("count", "an_epoch", "text"),
    [
        (32, 41_163, "0.078 % of an epoch (32 batches)"),
        (1, 20, "5 % of an epoch (1 batch)"),
        (20, 20, "one epoch (20 batches)"),
        (50, 20, "2.5 epochs (50 batches)"),
        (32, 0, "32 batches"),
    ],
)
def test_a_distance_is_a_share_of_an_epoch(count: int, an_epoch: int, text: str) -> None:
    assert distance(count, an_epoch) == text
    assert before_onset(count, an_epoch) == f"{text} before the onset"
    assert before_onset(0, an_epoch) == "at the onset"


def test_the_end_of_a_short_warm_up_is_near_only_within_a_share_of_it() -> None:
    """In a warm-up of 20 batches a rate that is at half of its height is nowhere near its end."""
    near = [done for done in range(60) if WarmUp(done, 20).near_end]
    assert near == list(range(18, 26))
