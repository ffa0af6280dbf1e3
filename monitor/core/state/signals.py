"""A number per batch, as its level, spread and excursions in log space. O(1) per sample; a bad one never gets in. Pure.

Log space, because the noise of losses, norms and times grows with them (facts: log-normal noise gave 198 false alarms
per million batches in linear space and none in log space). Where a signal was seen below zero, asinh of the value over
its own spread stands in for the logarithm. Levels and spreads are robust: an excursion is bounded before it is learnt,
and one that is flagged is not learnt at all. The first few dozen samples are judged too, by those few before them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from math import isfinite, log

import msgspec

WARM_SAMPLES = 64  # the first ones are kept, and give level and spread by their medians
LATE_SAMPLES = 32  # of them, for the level: early losses fall fast
EARLY_SAMPLES = 4  # from here on a sample of the warm-up is held against the medians of those before it ...
EARLY_WIDER = 12.0  # ... by a limit that is wider by this over their number, as Student's t is for a few
EARLY_RECORD = math.log(1.5)  # ... and must lie this far above every one of them: no early noise does
RING = 64  # the last samples; as long as the warm-up, which they share
# A sample's weight in the level falls to 1/e after this many. A level that lags behind a falling loss takes the fall
# for spread: 128 hid jumps to 2.5 times the level in real logs.
LEVEL_SAMPLES = 32
SPREAD_SAMPLES = 256
FAST_SAMPLES = 32
SLOW_SAMPLES = 512
TINY = 1e-12  # stands for a zero: a loss or norm that fell to nothing is far below its level, not at minus infinity
STEP_SPREAD = 0.84  # mean absolute deviation of Gaussian noise by the median of the steps between its samples
SPREAD_MIN = 0.02  # 2 %: below it a constant signal would call every rounding an excursion
FLAG_SPREADS = 6.0  # 4.8 standard deviations of Gaussian noise: nothing is learnt above it
FLAG_PEAKS = 1.5  # nor below this many times the largest excursion that turned out to be noise
REPORT_PEAKS = 2.5  # a single jump is worth a finding where it is this many times that
PEAK_DECAY = 1.0 - 1.0 / 20_000
PEAK_GROWTH = 2.0  # a spike that passed raises what counts as noise by this factor at most
LEARN_SPREADS = 3.0  # of an excursion that is learnt, at most
SHORT_SAMPLES = 8  # of the mean that shows a rise too small for a single sample of a noisy signal
SHORT_SPREAD = 0.26  # its spread by the samples' where they are independent, sqrt(1 / (2 * 8 - 1)): until it is learnt
SHORT_SPREAD_MIN = SHORT_SPREAD * SPREAD_MIN
SHORT_CLIP = 2.0 * FLAG_SPREADS  # what one sample may bring to it: one alone can't lift it
NEAR = 0b111  # bits of `recent`: two things belong together within 3 samples
HELD_SAMPLES = 10  # that must all be high before something is called lasting ...
HELD_SHARE = 0.5  # ... and by this share of the highest, in log space: lower is on its way back
AGAIN_AGE = 8  # after a boundary the level is learnt as if this few samples had been seen
SLACK_SAMPLES = 300  # and only excursions larger than SLACK are flagged for this long
SLACK = math.log(4.0)
CLOSER_SHARE = 2.0 / 3.0  # of the limits, while a signal is looked at more closely; its level then stays as it is
CALM_SAMPLES = 5  # this many below the flag end a streak
STREAK_SAMPLES = 400  # a streak this long is the new level
DRIFT_SLACK = 1.0  # in spreads: what the CUSUM forgives per sample
DRIFT_STEP = 3.0  # and what a single sample may add
DRIFT_MAX = 400.0
RECENT = (1 << 32) - 1
CALM = (1 << CALM_SAMPLES) - 1


class Signal(msgspec.Struct, omit_defaults=True):
    """What is known of one signal of one rank. `level`, `fast`, `slow`, `best`, `ring` are in scaled (log) space."""

    seen: int = 0  # finite samples
    age: int = 0  # of them since the last boundary: what the weights follow
    signed: bool = False  # a value below zero was seen: asinh instead of the logarithm
    unit: float = 1.0  # of the asinh, in the signal's own unit
    level: float = 0.0
    spread: float = 0.0  # mean absolute deviation from `level`
    fast: float = 0.0
    slow: float = 0.0
    start: float = 0.0  # the level at the end of the warm-up
    best: float = 0.0  # lowest `slow`
    best_seen: int = 0  # `seen` at that time
    last: float | None = None  # the last finite value, in the signal's own unit
    scaled: float = 0.0  # the same, scaled
    up: float = 0.0  # the last excursion above the level, in spreads
    peak: float = 0.0  # the largest that was noise, slowly forgotten
    drift: float = 0.0  # one-sided CUSUM of the rise above `slow`
    drift_from: int = 0  # `seen` when it last was 0
    recent: int = 0  # bits: whether the last 32 samples were flagged, the newest lowest
    streak: int = 0  # samples since the present streak of flags began, the first included; 0: there is none
    top: float = 0.0  # largest excursion of the streak
    slack: int = 0  # samples for which only large excursions are flagged
    ring: list[float] = []  # the last RING scaled samples, in turn; of a signed one's warm-up, values as they came
    short: float = 0.0  # mean of the last few excursions, in scaled space
    short_spread: float = 0.0  # mean size of it
    short_mean_high: int = 0  # samples for which it has been out of its own noise; 0: it is not
    closer: int = (
        0  # samples for which the limits are lower and the level stays: something changed, and nobody knows why
    )
    rounding: float = 0.0  # the step between values that are printed with few digits, in the signal's own unit
    least_spread: float = SPREAD_MIN  # below it an excursion is nothing but rounding

    @property
    def warm(self) -> bool:
        """True once level and spread mean something."""
        return self.seen >= WARM_SAMPLES

    @property
    def limit(self) -> float:
        """Excursions above this many spreads are flagged."""
        return max(FLAG_SPREADS, FLAG_PEAKS * self.peak) * (CLOSER_SHARE if self.closer else 1.0)

    @property
    def away(self) -> float:
        """The last sample's distance above the level, in scaled space: a log-ratio where the signal is positive."""
        return self.scaled - self.level

    @property
    def sustained(self) -> bool:
        """True where the present excursion has lasted and is not on its way back."""
        return self.low_of_last(HELD_SAMPLES) - self.level > max(self.limit, HELD_SHARE * self.top) * self.spread

    def jumped(self, spreads: float) -> bool:
        """True where the last sample stands out of any noise there was, or is the second flagged within three."""
        alone = self.up > max(spreads, REPORT_PEAKS * self.peak)
        return alone or (self.warm and (self.recent & NEAR).bit_count() >= 2)

    @property
    def above_all_before(self) -> bool:
        """True where the last sample lies far above everything that is kept from before its streak."""
        kept = self.newest(RING)
        return self.scaled > max(kept[: len(kept) - max(self.streak, 1)], default=math.inf) + EARLY_RECORD

    def risen(self) -> int:
        """Samples back to where the short mean began to rise, the last one included."""
        newest = self.newest(SHORT_SAMPLES)
        edge = self.level + LEARN_SPREADS * self.spread
        return len(newest) - next((i for i, scaled in enumerate(newest) if scaled > edge), 0)

    def unscaled(self, scaled: float) -> float:
        """A scaled number in the signal's own unit."""
        return math.sinh(min(scaled, 700.0)) * self.unit if self.signed else math.exp(min(scaled, 700.0))

    def rounded(self, scaled: float) -> float:
        """How far one step of rounding reaches from this scaled value: a loss printed as 0.0000 may be any below it."""
        return math.log1p(self.rounding * math.exp(-scaled)) if self.rounding and not self.signed else 0.0

    def low_of_last(self, samples: int) -> float:
        """The lowest of the last `samples` scaled samples; RING at most."""
        return min(self.newest(samples))

    def high_of_last(self, samples: int) -> float:
        """The highest of them."""
        return max(self.newest(samples))

    def quantile(self, share: float) -> float:
        """The value below which `share` of the last RING samples lie, scaled."""
        return sorted(self.ring)[int(share * (len(self.ring) - 1))]

    def newest(self, samples: int) -> list[float]:
        """The last scaled samples, oldest first; RING at most."""
        end = self.seen % RING
        start = end - min(samples, len(self.ring))
        return self.ring[start:end] if start >= 0 else self.ring[start:] + self.ring[:end]


def observe(signal: Signal, value: float | None, *, may_be_negative: bool = False) -> None:
    """Take one sample in. A None or non-finite one is passed over: it would blind every later reading."""
    if value is None or not isfinite(value):
        return
    if value < 0.0 and may_be_negative and not signal.signed:
        signal.signed, signal.ring = True, []
        signal.seen = signal.age = signal.streak = signal.recent = signal.short_mean_high = 0
    signal.last = value = float(value)
    if signal.seen < WARM_SAMPLES:
        _warm_up(signal, value)
        return
    seen = signal.seen = signal.seen + 1
    scaled = signal.scaled = scaled_value(signal, value) if signal.signed else log(value if value > TINY else TINY)
    signal.ring[(seen - 1) % RING] = scaled
    away, spread, least = scaled - signal.level, signal.spread, signal.least_spread
    if spread < SPREAD_MIN:
        spread = SPREAD_MIN
    up = signal.up = away / (spread if spread > least else least)
    if signal.closer:
        signal.closer -= 1
        flagged = up > signal.limit
    else:
        flagged = up > FLAG_SPREADS and up > FLAG_PEAKS * signal.peak and (not signal.slack or away > SLACK)
    if flagged or signal.recent:
        signal.recent = (signal.recent << 1 | flagged) & RECENT
    if signal.slack:
        signal.slack -= 1
    if not flagged and not signal.closer:
        _learn(signal, away, spread, up)
    if flagged or signal.streak:
        _follow_streak(signal, flagged=flagged)
    _follow_means(signal, scaled, away, spread)


def boundary(signal: Signal) -> None:
    """Something declared or known has changed: learn the new level quickly, and forgive all but large excursions."""
    if not signal.warm:
        return
    signal.age = AGAIN_AGE
    signal.slack = SLACK_SAMPLES
    signal.streak = signal.recent = signal.short_mean_high = 0
    signal.drift = signal.short = 0.0
    signal.slow = signal.best = signal.fast
    signal.best_seen = signal.seen


def learn_rounding(signal: Signal, samples: int) -> None:
    """Learn the step of values that are printed with few digits: of the last samples some are then equal."""
    newest = signal.newest(samples)
    values = sorted(map(math.exp, set(newest)))
    if 1 < len(values) < len(newest):
        step = min(after - before for before, after in pairwise(values))
        signal.rounding = min(signal.rounding or step, step)
    if signal.rounding:
        signal.least_spread = max(SPREAD_MIN, signal.rounded(signal.level))


def look_closer(signal: Signal, samples: int) -> None:
    """Something changed that nothing explains: for so many samples lower the limits, and learn no other level."""
    signal.closer, signal.slack = samples, 0


def scaled_value(signal: Signal, value: float) -> float:
    """A value of the signal in scaled space; of a signed one only once it is warm."""
    if signal.signed:
        return math.asinh(value / signal.unit)
    return math.log(max(TINY, value))


def _warm_up(signal: Signal, value: float) -> None:
    """Keep the sample; the last of them gives unit, level and spread by medians, which few bad samples can't move."""
    if not signal.signed:
        value = signal.scaled = scaled_value(signal, value)
        _judge_early(signal, value)
    signal.ring.append(value)
    signal.seen += 1
    if signal.seen < WARM_SAMPLES:
        return
    if signal.signed:
        middle = _median(signal.ring)
        signal.unit = max(_median([abs(v - middle) for v in signal.ring]), TINY)
        signal.ring = [scaled_value(signal, v) for v in signal.ring]
    late = signal.ring[-LATE_SAMPLES:]
    signal.start = _median(signal.ring)
    signal.level = signal.fast = signal.slow = signal.best = _median(late)
    signal.spread = _spread_of(signal.ring)
    signal.short, signal.short_spread = 0.0, SHORT_SPREAD * signal.spread
    signal.peak = min((max(late) - signal.level) / max(signal.spread, SPREAD_MIN), 2.0 * FLAG_SPREADS)
    signal.scaled, signal.age, signal.best_seen = signal.ring[-1], WARM_SAMPLES, signal.seen


def _judge_early(signal: Signal, scaled: float) -> None:
    """Flag a sample of the warm-up that rises far above every one before it, its own streak left out."""
    known = signal.ring[: len(signal.ring) - signal.streak]
    flagged = len(known) >= EARLY_SAMPLES and scaled > max(known) + EARLY_RECORD
    if flagged:
        signal.level, signal.spread = _median(known[-LATE_SAMPLES:]), _spread_of(known)
        signal.up = (scaled - signal.level) / max(SPREAD_MIN, signal.spread)
        flagged = signal.up > FLAG_SPREADS * (1.0 + EARLY_WIDER / len(known))
    if not flagged and not signal.recent:
        return
    signal.recent = (signal.recent << 1 | flagged) & RECENT
    if flagged or signal.streak:
        signal.streak += 1
    if signal.streak > len(known) or not signal.recent & CALM:
        signal.streak = 0


def _spread_of(scaled: list[float]) -> float:
    """The spread by the steps from sample to sample, which a trend hardly widens."""
    return STEP_SPREAD * _median([abs(after - before) for before, after in pairwise(scaled)])


def noise_of(signal: Signal) -> float:
    """The spread, also before it is learnt. Scaled."""
    return signal.spread if signal.warm or len(signal.ring) < 2 else _spread_of(signal.ring)


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2.0


def _learn(signal: Signal, away: float, spread: float, up: float) -> None:
    # Here and below no min() or max() is called, and no field is read twice: it is what a batch costs most for.
    age = signal.age = signal.age + 1
    bound = LEARN_SPREADS * spread
    moved = away
    if age > WARM_SAMPLES:
        moved = bound if away > bound else -bound if away < -bound else away
    signal.level += moved / (age if age < LEVEL_SAMPLES else LEVEL_SAMPLES)
    size, most, known = away if away > 0.0 else -away, 2.0 * bound, signal.spread
    signal.spread = known + ((size if size < most else most) - known) / SPREAD_SAMPLES
    peak = signal.peak * PEAK_DECAY
    if up > peak:
        highest = 2.0 * FLAG_SPREADS + peak
        peak = up if up < highest else highest
    signal.peak = peak


def _follow_streak(signal: Signal, *, flagged: bool) -> None:
    signal.top = max(signal.top, signal.up) if signal.streak else signal.up
    signal.streak += 1
    if signal.streak > STREAK_SAMPLES:
        signal.level = signal.fast
        boundary(signal)
    elif not flagged and not signal.recent & CALM:
        signal.peak = max(signal.peak, min(signal.top, PEAK_GROWTH * signal.limit))
        signal.streak = 0


def _follow_means(signal: Signal, scaled: float, away: float, spread: float) -> None:
    """The mean of the last few excursions, against the size it usually has; then the means and the CUSUM of a trend."""
    most, short, known = SHORT_CLIP * spread, signal.short, signal.short_spread
    signal.short = short = short + ((away if away < most else most) - short) / SHORT_SAMPLES
    bound = FLAG_SPREADS * (known if known > SHORT_SPREAD_MIN else SHORT_SPREAD_MIN)
    if signal.closer:
        bound *= CLOSER_SHARE
    if short > bound and not signal.slack:
        signal.short_mean_high += 1
    elif signal.short_mean_high:
        signal.short_mean_high = 0
    size = short if short > 0.0 else -short
    signal.short_spread = known + ((size if size < bound else bound) - known) / SPREAD_SAMPLES
    fast, slow, age = signal.fast, signal.slow, signal.age
    signal.fast = fast + (scaled - fast) / FAST_SAMPLES
    rise = (scaled - slow) / spread
    drift = signal.drift + ((rise if rise < DRIFT_STEP else DRIFT_STEP) - DRIFT_SLACK)
    if drift <= 0.0:
        signal.drift, signal.drift_from = 0.0, signal.seen
    else:
        signal.drift = drift if drift < DRIFT_MAX else DRIFT_MAX
    slow = signal.slow = slow + (scaled - slow) / (age if age < SLOW_SAMPLES else SLOW_SAMPLES)
    if slow < signal.best:
        signal.best, signal.best_seen = slow, signal.seen
