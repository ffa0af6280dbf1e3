"""Medians and effect sizes: exact where they can be, bounded always."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.diagnosis.robust import EFFECT_MAX, SHARP, cliff, level, median, shift

FINITE = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30)


@given(FINITE, FINITE)
def test_cliffs_delta_is_the_share_of_pairs_above_less_those_below(before: list[float], after: list[float]) -> None:
    pairs = [(a > b) - (a < b) for a in after for b in before]
    assert cliff(before, after) == pytest.approx(sum(pairs) / len(pairs))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), FINITE)
def test_an_effect_is_finite_and_bounded_whatever_comes(before: list[float], after: list[float]) -> None:
    effect, delta = shift(before, after)
    assert abs(effect) <= EFFECT_MAX
    assert abs(delta) <= 1.0


def test_a_shift_is_measured_in_spreads_of_what_was_before() -> None:
    """Three standard deviations of log-normal noise."""
    draw = random.Random(1)
    before = [2.0 * math.exp(0.2 * draw.gauss(0, 1)) for _ in range(400)]
    effect, delta = shift(before, [2.0 * math.exp(0.6)] * 20)
    assert effect == pytest.approx(3.0, abs=0.4)
    assert delta > 0.95


def test_a_constant_that_changes_is_measured_by_cliffs_delta() -> None:
    assert shift([16.0] * 50, [32.0] * 5) == (SHARP, 1.0)
    assert shift([16.0] * 50, [8.0] * 5) == (-SHARP, -1.0)
    assert shift([16.0] * 50, [16.0] * 5) == (0.0, 0.0)


def test_a_tenth_of_wild_values_does_not_move_a_level() -> None:
    assert level([2.0] * 60 + [1e9] * 6).value == pytest.approx(2.0)


def test_no_values_have_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        median([])
