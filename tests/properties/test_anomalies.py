"""Finite anomalies and blame, whatever the rates, losses and bad batches are."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model import Position
from monitor.core.state.anomalies import onset_of, standing, standing_at
from monitor.core.state.blame import NAMES_MAX, blamed
from tests.harness.bad_batches import DataSet, bad_batch
from tests.harness.simulation import Simulation
from trainer_hooks.wire.messages import SettingChanged

STEPS = st.lists(
    st.tuples(
        st.integers(1, 80),  # batches until then
        st.sampled_from([0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 200.0]),  # times the rate
        st.sampled_from(["", "the scheduler"]),
        st.sampled_from([0.3, 1.0, 1.0, 4.0]),  # times the loss
    ),
    max_size=8,
)
BAD_BATCHES = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 19), st.sets(st.integers(0, 159), min_size=1, max_size=32))
)
SLOW = settings(deadline=None, max_examples=60)


@SLOW
@given(STEPS, st.integers(0, 1000))
def test_an_onset_is_never_after_the_first_bad_batch_and_never_after_what_stands(
    steps: list[tuple[int, float, str, float]], seed: int
) -> None:
    training, draw, rate, level = Simulation(batches_per_epoch=50), random.Random(seed), 0.01, 1.0
    for batches, factor, reason, jump in [(120, 1.0, "", 1.0), *steps]:
        for _ in range(batches):
            training.batch(level * math.exp(draw.gauss(0.0, 0.05)), math.exp(draw.gauss(0.0, 0.1)), rate=rate)
        old, rate, level = rate, rate * factor, level * jump
        at = training.run.training.position
        assert at is not None
        if factor != 1.0:
            training.send(SettingChanged(0.0, at.epoch, at.batch, "learning_rate/all", str(old), str(rate), reason))
        state = training.run.training
        onset, stands = onset_of(state, at), standing(state)
        assert onset.count <= at.count
        if stands is not None:
            assert onset.count <= stands.since.count <= at.count
            assert standing_at(state, at) is stands
    assert training.run.ledger.defects == 0
    before = training.run.training.anomalies
    training.reload()
    assert training.run.training.anomalies == before


@SLOW
@given(BAD_BATCHES)
def test_who_is_blamed_was_in_the_bad_batches_of_its_share(bad: list[tuple[int, int, set[int]]]) -> None:
    training = DataSet().training()
    for epoch, batch, images in bad:
        training.nonfinite_log.append((1, bad_batch(epoch, batch, images)))
    found = blamed(training)
    assert len(found.samples) <= NAMES_MAX
    assert 0.0 <= found.share <= 1.0
    named = {str(image) for _, _, images in bad for image in images}
    assert set(found.samples) <= named
    assert found.explains == (bool(found.samples) and found.share >= 0.7)
    assert blamed(training, Position(2, 1, 0, 1)).samples == ()
