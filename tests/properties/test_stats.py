"""The running statistics against slow references that look at every sample again; and what no sample may do to them."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.state.learned import Blocks, Learned, Memory
from monitor.core.state.signals import (
    EARLY_SAMPLES,
    FAST_SAMPLES,
    LATE_SAMPLES,
    RING,
    SHORT_CLIP,
    SHORT_SAMPLES,
    SPREAD_MIN,
    STEP_SPREAD,
    STREAK_SAMPLES,
    WARM_SAMPLES,
    Signal,
    boundary,
    observe,
)
from monitor.core.state.stats import BLOCKS_FIRST, LINE_POINTS, LINE_STRIDE, snapshot_of, take_block, take_memory

POSITIVE = st.floats(1e-6, 1e6)
ANY = st.floats(-1e6, 1e6)
BAD = st.sampled_from([math.nan, math.inf, -math.inf, None])
SLOW = settings(deadline=None, max_examples=60)


def fed(values: list[float | None], *, signed: bool = False) -> Signal:
    signal = Signal()
    for value in values:
        observe(signal, value, may_be_negative=signed)
    return signal


def state(signal: Signal) -> bytes:
    return msgspec.msgpack.encode(signal)


@SLOW
@given(st.lists(st.one_of(ANY, BAD), max_size=400))
def test_a_non_finite_sample_changes_nothing(values: list[float | None]) -> None:
    finite = [v for v in values if v is not None and math.isfinite(v)]
    assert state(fed(values, signed=True)) == state(fed(list(finite), signed=True))


@SLOW
@given(st.lists(ANY, max_size=400), st.lists(ANY, max_size=100))
def test_a_signal_read_back_in_the_middle_goes_on_bit_for_bit(first: list[float], then: list[float]) -> None:
    alive = fed(list(first), signed=True)
    read = msgspec.msgpack.decode(state(alive), type=Signal)
    for value in then:
        observe(alive, value, may_be_negative=True)
        observe(read, value, may_be_negative=True)
    assert state(read) == state(alive)


@SLOW
@given(st.lists(POSITIVE, min_size=WARM_SAMPLES, max_size=WARM_SAMPLES))
def test_after_the_warm_up_level_and_spread_are_medians_in_log_space(values: list[float]) -> None:
    logs = [math.log(v) for v in values]
    signal = fed(list(values))
    assert signal.level == pytest.approx(statistics.median(logs[-LATE_SAMPLES:]))
    steps = [abs(after - before) for before, after in pairwise(logs)]
    assert signal.spread == pytest.approx(STEP_SPREAD * statistics.median(steps))


@SLOW
@given(st.lists(POSITIVE, min_size=RING, max_size=300), st.integers(1, RING))
def test_the_lowest_and_highest_of_the_last_n_are_those_of_the_whole_history(values: list[float], n: int) -> None:
    signal = fed(list(values))
    logs = [math.log(v) for v in values]
    assert signal.low_of_last(n) == min(logs[-n:])
    assert signal.high_of_last(n) == max(logs[-n:])
    assert signal.quantile(0.25) == sorted(logs[-RING:])[int(0.25 * (RING - 1))]


@SLOW
@given(st.lists(POSITIVE, min_size=WARM_SAMPLES, max_size=400))
def test_the_short_mean_is_the_exponentially_weighted_one(values: list[float]) -> None:
    signal = fed(list(values))
    logs = [math.log(v) for v in values]
    mean = statistics.median(logs[WARM_SAMPLES - LATE_SAMPLES : WARM_SAMPLES])
    for x in logs[WARM_SAMPLES:]:
        mean += (x - mean) / FAST_SAMPLES
    assert signal.fast == pytest.approx(mean, abs=1e-9)


@SLOW
@given(st.lists(ANY, max_size=1500), st.floats(1e-3, 1e3))
def test_no_history_makes_a_statistic_non_finite_or_large(values: list[float], scale: float) -> None:
    signal = fed([v * scale for v in values], signed=True)
    numbers = [getattr(signal, name) for name in Signal.__struct_fields__ if name not in ("ring", "last")]
    assert all(math.isfinite(n) for n in numbers)
    assert len(signal.ring) <= RING
    assert signal.streak <= STREAK_SAMPLES


@SLOW
@given(st.floats(0.5, 50.0), st.integers(1, 8))
def test_one_huge_sample_leaves_the_level_where_it_was(factor: float, times: int) -> None:
    calm = [2.0 + 0.1 * (i % 7) for i in range(300)]
    before = fed(list(calm)).level
    after = fed([*calm, *[2.0 * (20.0 + factor)] * times]).level
    assert after == pytest.approx(before, abs=1e-6)


@SLOW
@given(st.floats(3.0, 1000.0))
def test_a_new_level_is_accepted_in_the_end(factor: float) -> None:
    calm = [2.0 + 0.1 * (i % 7) for i in range(300)]
    signal = fed([*calm, *[factor * v for v in calm], *[factor * v for v in calm], *[factor * v for v in calm]])
    assert signal.unscaled(signal.level) == pytest.approx(factor * 2.3, rel=0.2)
    assert signal.streak == 0


@SLOW
@given(st.floats(0.0, 1e6), st.floats(1e8, 1e11), st.integers(100, 600))
def test_the_line_through_memory_is_the_least_squares_line(slope: float, start: float, points: int) -> None:
    """Weights are equal up to LINE_POINTS points; on a straight line they don't matter afterwards."""
    memory = Memory()
    for count in range(1, points * LINE_STRIDE + 1):
        take_memory(memory, count, None, start + slope * count)
    assert memory.line.points == points
    assert points >= 100
    assert memory.line.slope == pytest.approx(slope, rel=1e-3, abs=1.0)
    assert LINE_POINTS >= 100


@SLOW
@given(st.lists(POSITIVE, min_size=2 * RING, max_size=20 * RING))
def test_blocks_remember_the_highest_quarter_quantile_while_they_learn(values: list[float]) -> None:
    signal, blocks, lows = Signal(), Blocks(), []
    for n, value in enumerate(values[: BLOCKS_FIRST * RING], start=1):
        observe(signal, value)
        take_block(blocks, signal)
        if n % RING == 0:
            lows.append(sorted(math.log(v) for v in values[n - RING : n])[int(0.25 * (RING - 1))])
    assert blocks.seen == len(lows)
    assert blocks.high == max(lows[:-1] if len(lows) > 1 else lows)


def test_a_copy_for_a_rollback_shares_nothing_and_forgets_what_counts_the_batches_of_a_generation() -> None:
    learned = Learned(signals={"loss": fed([2.0 + 0.1 * (i % 7) for i in range(300)])}, uncured=2)
    learned.scaler.falls.append(7)
    copy = snapshot_of(learned)
    observe(learned.signals["loss"], 9.0)
    assert copy.signals["loss"].seen == 300
    assert copy.signals["loss"].level == pytest.approx(fed([2.0 + 0.1 * (i % 7) for i in range(300)]).level)
    assert (copy.uncured, copy.scaler.falls, copy.memory.seen) == (2, [], 0)


def test_a_boundary_in_the_warm_up_changes_nothing() -> None:
    signal = fed([1.0, 2.0])
    before = state(signal)
    boundary(signal)
    assert state(signal) == before


@SLOW
@given(st.lists(POSITIVE, min_size=1, max_size=WARM_SAMPLES - 1))
def test_before_the_warm_up_is_over_only_what_lies_above_everything_outside_its_spell_is_flagged(
    values: list[float],
) -> None:
    signal, streak = Signal(), 0
    for at, value in enumerate(values):
        observe(signal, value)
        if signal.recent & 1:
            known = values[: at - streak]
            assert len(known) >= EARLY_SAMPLES
            assert value > 1.5 * max(known) * (1.0 - 1e-9)
        streak = signal.streak


@SLOW
@given(st.lists(st.floats(0.5, 2.0), min_size=WARM_SAMPLES + 1, max_size=400))
def test_the_short_mean_is_that_of_excursions_that_are_bounded(values: list[float]) -> None:
    signal, short = Signal(), 0.0
    for value in values:
        level, spread, before = signal.level, max(SPREAD_MIN, signal.spread), signal.short
        observe(signal, value)
        if signal.seen > WARM_SAMPLES:
            away = min(math.log(value) - level, SHORT_CLIP * spread)
            short = before + (away - before) / SHORT_SAMPLES
            assert signal.short == pytest.approx(short, abs=1e-12)
