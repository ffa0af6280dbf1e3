"""Which samples explain the bad batches of a training: those in more of them than chance allows. Pure.

Sample i is blamed where N x P(chance names it in k bad batches or more) < ALPHA / (n (n + 1)), with n bad batches and N
samples in the training set. The sum of these limits over every n is ALPHA, so the rule may be asked at each bad batch.
Chance has one term for each pass over the data, since a pass meets a sample once. Where images are mixed (mosaic) a
sample comes again within a pass, but only near its first batch: the partners are drawn from the images loaded last.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import msgspec

from monitor.core.model import Position
from monitor.core.state.run import TrainingState
from trainer_hooks.wire.messages import Nonfinite, NonfiniteSeen

ALPHA = 0.01  # chance of a wrong name in the whole life of a training
EXPLAINS = 0.7  # share of the bad batches: below it the sample is only named
BATCHES_MAX = 64  # the newest bad batches that are looked at: older ones add nothing, and the sums cost their square
NAMES_MAX = 16
MIXED_BATCHES = 8  # Ultralytics draws the partners of a mosaic from the images of its last eight batches
MIXED_IMAGES = 4.0  # images in one of a mosaic
LOSS = int(Nonfinite.LOSS)

Pass = tuple[int, int]  # generation and epoch


class Blame(msgspec.Struct, frozen=True):
    """The samples that are to blame."""

    samples: tuple[str, ...] = ()  # the worst first; samples that are always in the same batches stand together
    share: float = 0.0  # of the bad batches whose samples are known: those with one of these samples
    batches: int = 0  # bad batches whose samples are known; the newest BATCHES_MAX

    @property
    def explains(self) -> bool:
        """True where they explain the bad batches; else they are only named."""
        return bool(self.samples) and self.share >= EXPLAINS


class BadBatch(msgspec.Struct, frozen=True):
    """One bad batch whose samples are known."""

    epoch: int
    batch: int
    of: Pass
    samples: frozenset[str]


def blamed(training: TrainingState, since: Position | None = None) -> Blame:
    """Who is to blame for the bad batches from `since` on; None: for all of them."""
    known = bad_batches(training, since)
    of_all, batch_size = training_samples(training), _batch_size(training)
    rest, names = known[-BATCHES_MAX:], list[str]()
    looked_at = len(rest)
    limit = ALPHA / (len(known) * (len(known) + 1)) if known else 0.0
    while of_all and len(names) < NAMES_MAX:
        worst = _most_frequent(rest)
        if not worst or of_all * _chance(rest, worst[0], of_all, batch_size) >= limit:
            break
        names.extend(worst[: NAMES_MAX - len(names)])
        rest = [bad for bad in rest if worst[0] not in bad.samples]
    return Blame(tuple(names), (looked_at - len(rest)) / looked_at if looked_at else 0.0, looked_at)


def samples_at(training: TrainingState, at: Position) -> frozenset[str]:
    """The samples of one bad batch; empty: not known."""
    here = (at.generation, at.epoch, at.batch)
    return next((b.samples for b in bad_batches(training) if (*b.of, b.batch) == here), frozenset())


def bad_batches(training: TrainingState, since: Position | None = None) -> list[BadBatch]:
    """The bad batches whose samples are known, oldest first.

    Gradients are shared between ranks and losses are not: where a rank's loss was bad, only its samples count. A batch
    that a later generation trains once more with the very same samples proves nothing new.
    """
    first = (since.generation, since.epoch, since.batch) if since else (0, 0, 0)
    grouped: dict[tuple[int, int, int], list[NonfiniteSeen]] = {}
    for generation, seen in training.nonfinite_log:
        place = (generation, seen.epoch, seen.batch)
        if seen.samples and place >= first:
            grouped.setdefault(place, []).append(seen)
    found: dict[tuple[int, frozenset[str]], BadBatch] = {}
    for (generation, epoch, batch), of_ranks in grouped.items():
        own = [seen for seen in of_ranks if seen.nonfinite & LOSS] or of_ranks
        samples = frozenset(name for seen in own for name in seen.samples)
        found.setdefault((epoch, samples), BadBatch(epoch, batch, (generation, epoch), samples))
    return list(found.values())


def training_samples(training: TrainingState) -> int:
    """The size of the training set; where the hook did not say, as many as an epoch's batches hold; 0: not known."""
    started = training.started or (training.starts[-1] if training.starts else None)
    if started is None:
        return 0
    return started.samples or started.batches_per_epoch * _batch_size(training) * max(started.world_size, 1)


def _batch_size(training: TrainingState) -> int:
    leader = training.ranks.get(0)
    return (leader.learned.batch_size or 0) if leader else 0


def _most_frequent(batches: list[BadBatch]) -> list[str]:
    """The sample in most of them, with those in exactly the same ones; empty: none is in two."""
    counts = Counter(name for bad in batches for name in bad.samples)
    most = max(counts.values(), default=0)
    if most < 2:
        return []
    first = min(name for name, times in counts.items() if times == most)
    together = frozenset.intersection(*(bad.samples for bad in batches if first in bad.samples))
    return [first, *sorted(name for name in together if name != first and counts[name] == most)]


def _chance(batches: list[BadBatch], name: str, of_all: int, batch_size: int) -> float:
    """The chance that as many of these batches name a sample that has nothing to do with them."""
    passes: dict[Pass, list[BadBatch]] = {}
    for bad in batches:
        passes.setdefault(bad.of, []).append(bad)
    counts = [Counter(sample for bad in within for sample in bad.samples) for within in passes.values()]
    comes_again = any(max(each.values()) > 1 for each in counts)
    of_count = [1.0]  # by count: the chance that a sample is named so often
    for within in passes.values():
        again = _again(within, of_all, batch_size) if comes_again else 0.0
        of_count = _convolved(of_count, _of_pass(within, of_all, again))
    return sum(of_count[sum(name in bad.samples for bad in batches) :])


def _of_pass(batches: list[BadBatch], of_all: int, again: float) -> list[float]:
    """By count: the chance that so many bad batches of one pass name a sample, be they far apart or all in a row.

    In both cases a sample is named `mean` times on average: far apart that is the chance of one batch, in a row fewer
    samples are named, but more often.
    """
    mean = sum(len(bad.samples) for bad in batches) / of_all
    others = len(batches) - 1
    in_a_row = mean / (1.0 + others * again)
    further = _binomial(others, again)
    at_least = [1.0, min(1.0, mean), *(min(1.0, in_a_row * sum(further[k:])) for k in range(1, others + 1)), 0.0]
    return [at_least[k] - at_least[k + 1] for k in range(len(at_least) - 1)]


def _again(batches: list[BadBatch], of_all: int, batch_size: int) -> float:
    """The chance that a sample which one batch of a pass named is named by another bad one near it."""
    most = max(len(bad.samples) for bad in batches)
    images = most / batch_size if batch_size else MIXED_IMAGES
    return min(1.0, max(1.0 - math.exp(-max(images - 1.0, 0.0) / MIXED_BATCHES), most / of_all))


def _binomial(trials: int, chance: float) -> list[float]:
    return [math.comb(trials, k) * chance**k * (1.0 - chance) ** (trials - k) for k in range(trials + 1)]


def _convolved(one: list[float], other: Iterable[float]) -> list[float]:
    other = list(other)
    total = [0.0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            total[i + j] += a * b
    return total
