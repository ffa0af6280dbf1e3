"""Where a trainer's loader is within its epoch, and how another loader of the same data gets there.

The batch sampler of Ultralytics' loader repeats for ever; its iterator draws one permutation after the other from the
loader's generator, ahead of the training by what its workers prefetch. So the generator's state is kept at each pass,
and the pass that an epoch uses is counted by the epochs that were begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

PASSES_KEPT = 4  # the loader is at most one pass ahead


class LoaderPosition:
    """Comes between a loader and its batch sampler. Inert where the loader is of another kind."""

    def __init__(self) -> None:
        self._sampler: _PositionedSampler | None = None
        self._loader: Any = None

    def follow(self, loader: Any) -> None:
        """This is the trainer's loader now. Draws nothing, and changes nothing of what is drawn."""
        if loader is self._loader:
            return
        self._loader, self._sampler = loader, None
        repeated = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
        generator = getattr(getattr(repeated, "sampler", None), "generator", None)
        if repeated is None or not isinstance(generator, torch.Generator):
            return
        started = getattr(loader, "iterator", None) is not None
        if started and not (generator is getattr(loader, "generator", None) and hasattr(loader, "reset")):
            return
        self._sampler = _PositionedSampler(repeated, generator)
        object.__setattr__(loader, "batch_sampler", self._sampler)  # a loader refuses to have it set
        if started:  # older releases begin to draw at once
            generator.manual_seed(generator.initial_seed())
            loader.reset()

    def epoch_began(self) -> None:
        """The first batch of an epoch has been delivered."""
        if self._sampler is not None:
            self._sampler.begin_epoch()

    def state(self) -> torch.Tensor | None:
        """The generator's state from which the present epoch was drawn; None: it is not known."""
        return None if self._sampler is None else self._sampler.epoch_state()

    def move_to(self, state: torch.Tensor, batches: int, arrived: Callable[[], None]) -> bool:
        """Have the next pass drawn from this state, without its first `batches`; `arrived` is called before the next.

        False: this loader can't.
        """
        if self._sampler is None:
            return False
        self._sampler.start = (state, batches, arrived)
        if getattr(self._loader, "iterator", None) is not None:
            self._loader.reset()
        return True


class _PositionedSampler:
    """In place of Ultralytics' sampler that repeats for ever; `sampler` is what it repeats, as there."""

    def __init__(self, sampler: Any, generator: torch.Generator) -> None:
        self.sampler = sampler
        self.start: tuple[torch.Tensor, int, Callable[[], None]] | None = (
            None  # of each iterator, until an epoch begins
        )
        self._generator = generator
        self._states: dict[int, torch.Tensor] = {}  # by pass of the present iterator
        self._iterators = 0
        self._epochs = 0  # begun with the present iterator
        self._counted = 0  # the iterator that they are of

    def __iter__(self) -> Iterator[Any]:
        self._iterators += 1
        number = 0
        self._states.clear()
        while True:
            skipped, arrived = 0, None
            if self.start is not None and number == 0:
                state, skipped, arrived = self.start
                self._generator.set_state(state)
            self._states[number] = self._generator.get_state()
            self._states.pop(number - PASSES_KEPT, None)
            for place, indices in enumerate(self.sampler):
                if place < skipped:
                    continue
                if place == skipped and arrived is not None:
                    arrived()
                yield indices
            number += 1

    def begin_epoch(self) -> None:
        self.start = None  # not before: a loader may be made to begin again before its first batch
        if self._counted != self._iterators:
            self._counted, self._epochs = self._iterators, 0
        self._epochs += 1

    def epoch_state(self) -> torch.Tensor | None:
        return self._states.get(self._epochs - 1)
