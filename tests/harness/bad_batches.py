"""Bad batches of a data set whose batches are drawn as a loader draws them, with the samples that they name."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.core.state.blame import Blame, blamed
from monitor.core.state.run import RankState, TrainingState
from trainer_hooks.wire.messages import Nonfinite, NonfiniteSeen, TrainingStarted

PARTNERS = 3  # of each image in a mosaic
BUFFER_BATCHES = 8  # from whose images Ultralytics draws them


@dataclass(frozen=True, slots=True)
class DataSet:
    """`bad` images make their batch bad. Besides, `bursts` an epoch of `burst` batches in a row are bad."""

    images: int = 160
    batch_size: int = 8
    bad: frozenset[int] = frozenset()
    mosaic: bool = False
    all_named: bool = True  # the four images of a mosaic; False: only the first
    shuffled: bool = True
    bursts: int = 0
    burst: int = 1
    share: float = 0.0  # of batches that are bad at random

    @property
    def batches(self) -> int:
        """An epoch."""
        return self.images // self.batch_size

    def bad_batches(self, epochs: int, draw: random.Random) -> Iterator[NonfiniteSeen]:
        """The bad batches of the first epochs, in order."""
        loaded: list[int] = []
        for epoch in range(1, epochs + 1):
            order = list(range(self.images))
            if self.shuffled:
                draw.shuffle(order)
            starts = [draw.randrange(self.batches) for _ in range(self.bursts)]
            for batch in range(self.batches):
                first = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                inside = set(first)
                for image in first if self.mosaic else ():
                    loaded = [*loaded, image][-BUFFER_BATCHES * self.batch_size :]
                    inside.update(draw.choices(loaded, k=PARTNERS))
                burst = any(start <= batch < start + self.burst for start in starts)
                if inside & self.bad or burst or draw.random() < self.share:
                    yield bad_batch(epoch, batch, inside if self.all_named else first)

    def training(self) -> TrainingState:
        """A training on it that has begun."""
        training = TrainingState(1, generation=1)
        training.started = TrainingStarted(
            0.0, "plain", {}, {}, (), ("all",), (0.1,), 50, 1, self.batches, 1, 1, "", "", 0, "cpu", "",
            samples=self.images,
        )  # fmt: skip
        training.ranks[0] = RankState(0)
        training.ranks[0].learned.batch_size = self.batch_size
        return training

    def first_blame(self, epochs: int, seed: int) -> tuple[Blame, float]:
        """The first time that anybody is blamed, and after how many epochs; nobody is: an empty blame, `epochs`."""
        training = self.training()
        for seen in self.bad_batches(epochs, random.Random(seed)):
            training.nonfinite_log.append((1, seen))
            if (found := blamed(training)).samples:
                return found, seen.epoch - 1 + seen.batch / self.batches
        return Blame(), float(epochs)


def bad_batch(
    epoch: int, batch: int, images: set[int] | list[int], bits: Nonfinite = Nonfinite.LOSS | Nonfinite.GRADIENT
) -> NonfiniteSeen:
    """The evidence of one bad batch with these images."""
    names = tuple(str(image) for image in sorted(images))
    return NonfiniteSeen(0.0, epoch, batch, int(bits), None, (), None, True, names, False, "")
