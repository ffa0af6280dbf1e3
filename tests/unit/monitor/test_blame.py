"""Which sample is blamed for bad batches, and how soon. The seeds are in each failure's parameters."""

from __future__ import annotations

from statistics import median

import msgspec
import pytest

from monitor.core.model import Position
from monitor.core.state.blame import BATCHES_MAX, NAMES_MAX, blamed, samples_at, training_samples
from tests.harness.bad_batches import DataSet, bad_batch
from trainer_hooks.wire.messages import Nonfinite

ONE = frozenset({7})


@pytest.mark.parametrize(
    ("data", "epochs"),
    [
        (DataSet(bad=ONE), 5.0),
        (DataSet(bad=ONE, mosaic=True), 4.5),
        (DataSet(2000, bad=ONE), 3.5),
        (DataSet(20_000, bad=ONE, mosaic=True), 2.5),
    ],
)
def test_the_one_bad_image_is_blamed_alone_and_explains_the_bad_batches(data: DataSet, epochs: float) -> None:
    found = [data.first_blame(12, seed) for seed in range(6)]
    assert [(each.samples, each.explains) for each, _ in found] == [(("7",), True)] * 6
    assert median(after for _, after in found) <= epochs


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "data",
    [
        DataSet(bursts=1),
        DataSet(share=0.1),
        DataSet(share=0.1, mosaic=True),
        DataSet(bursts=1, burst=10, mosaic=True),
        DataSet(4000, bursts=2, burst=10, mosaic=True),  # its images are drawn from the same few again and again
    ],
)
def test_nobody_is_blamed_where_the_bad_batches_have_nothing_to_do_with_a_sample(data: DataSet, seed: int) -> None:
    assert data.first_blame(6, seed)[0].samples == ()


def test_an_image_that_is_in_few_of_the_bad_batches_is_named_but_does_not_explain_them() -> None:
    training = DataSet(2000).training()
    for epoch in range(1, 9):
        training.nonfinite_log.append((1, bad_batch(epoch, 3, {7, 100 + epoch})))
        training.nonfinite_log.append((1, bad_batch(epoch, 90, {200 + epoch, 300 + epoch})))
    found = blamed(training)
    assert (found.samples, found.share, found.explains) == (("7",), 0.5, False)


def test_two_bad_images_are_both_blamed_and_explain_together() -> None:
    found = DataSet(2000, bad=frozenset({7, 1200}))
    training = found.training()
    for epoch in range(1, 7):
        training.nonfinite_log.append((1, bad_batch(epoch, 3, {7, 100 + epoch})))
        training.nonfinite_log.append((1, bad_batch(epoch, 90, {1200, 300 + epoch})))
    assert set(blamed(training).samples) == {"7", "1200"}
    assert blamed(training).explains


def test_images_that_are_always_in_the_same_batch_are_blamed_together() -> None:
    """An unshuffled loader gives the same batch in every epoch: nothing tells its images apart."""
    found, _ = DataSet(bad=ONE, shuffled=False).first_blame(12, 1)
    assert set(found.samples) == {str(image) for image in range(8)}


def test_no_more_names_are_given_than_the_limit() -> None:
    found, _ = DataSet(6400, 64, bad=ONE, shuffled=False).first_blame(12, 1)
    assert len(found.samples) == NAMES_MAX


def test_only_the_newest_bad_batches_are_looked_at() -> None:
    training = DataSet(2000).training()
    for epoch in range(1, BATCHES_MAX + 11):
        training.nonfinite_log.append((1, bad_batch(epoch, 3, {7 if epoch > 10 else 8, 100 + epoch})))
    assert (blamed(training).samples, blamed(training).share) == (("7",), 1.0)
    assert blamed(training).batches == BATCHES_MAX


def test_a_batch_that_is_trained_again_with_the_same_samples_proves_nothing_new() -> None:
    training = DataSet(2000).training()
    for generation in range(1, 6):
        training.nonfinite_log.append((generation, bad_batch(2, 3, {7, 8, 9})))
    assert blamed(training).samples == ()


def test_of_several_ranks_the_one_whose_loss_was_bad_names_the_samples() -> None:
    """Gradients are shared: each rank reports the same bad step with its own samples."""
    training = DataSet(2000).training()
    for epoch in range(1, 6):
        training.nonfinite_log.append((1, bad_batch(epoch, epoch, {7, 100 + epoch})))
        training.nonfinite_log.append((1, bad_batch(epoch, epoch, {8, 200 + epoch}, Nonfinite.GRADIENT)))
    assert blamed(training).samples == ("7",)


def test_bad_batches_before_the_onset_are_left_out() -> None:
    training = DataSet(2000).training()
    for epoch in range(1, 11):
        training.nonfinite_log.append((1, bad_batch(epoch, 3, {100 + epoch} if epoch <= 5 else {7, 100 + epoch})))
    assert not blamed(training).explains
    assert blamed(training, Position(1, 6, 0, 1)).share == 1.0


def test_a_sample_in_every_bad_batch_is_suspected_before_it_is_proven() -> None:
    training = DataSet().training()
    for epoch in (1, 2, 3):
        found = blamed(training)
        assert found.suspect == ("7" if epoch == 3 else "")
        training.nonfinite_log.append((1, bad_batch(epoch, 3, {7, *range(20 * epoch, 20 * epoch + 7)})))
    found = blamed(training)
    assert (found.samples, found.suspect) == ((), "7")
    assert found.by_chance == pytest.approx(160 * (8 / 160) ** 3)
    training.nonfinite_log.append((1, bad_batch(4, 3, {8, 9})))
    assert blamed(training).suspect == ""


def test_nothing_is_known_of_a_training_without_bad_batches() -> None:
    training = DataSet().training()
    assert blamed(training).samples == ()
    assert samples_at(training, Position(1, 1, 0, 1)) == frozenset()


def test_the_samples_of_one_bad_batch_can_be_asked_for() -> None:
    training = DataSet().training()
    training.nonfinite_log.append((1, bad_batch(2, 5, {7, 8})))
    assert samples_at(training, Position(1, 2, 5, 26)) == {"7", "8"}


def test_the_size_of_the_training_set_comes_from_its_batches_where_the_hook_does_not_say_it() -> None:
    """Hooks of before sent no such number."""
    training = DataSet(161).training()
    assert training_samples(training) == 161
    assert training.started is not None
    training.started = msgspec.structs.replace(training.started, samples=0)
    assert training_samples(training) == 160
