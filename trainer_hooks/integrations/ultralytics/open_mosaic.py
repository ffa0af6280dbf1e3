"""Opens mosaic again that was closed since: puts the transforms back that the data set had before.

Ultralytics closes it by giving the data set other transforms, and its loop closes it again when it comes there.
"""

from __future__ import annotations

from typing import Any


class OpenMosaic:
    """Of one training: the transforms of its data set while mosaic is open."""

    def __init__(self) -> None:
        self._dataset: Any = None
        self._transforms: Any = None
        self._flag: Any = None  # of releases that have one beside the transforms

    def epoch_began(self, trainer: Any) -> None:
        """An epoch is about to begin, and mosaic to be closed where that is due."""
        if trainer.epoch < closing_epoch(trainer):
            self._dataset = trainer.train_loader.dataset
            self._transforms = getattr(self._dataset, "transforms", None)
            self._flag = getattr(self._dataset, "mosaic", None)

    def can_open(self, trainer: Any) -> bool:
        """True where the data set is the same, and Ultralytics' own closing has replaced nothing but these."""
        dataset = trainer.train_loader.dataset
        closes = getattr(type(dataset), "close_mosaic", None)
        own = str(getattr(closes, "__module__", "")).startswith("ultralytics.")
        return own and dataset is self._dataset and self._transforms is not None and hasattr(dataset, "transforms")

    def open(self, trainer: Any) -> None:
        """Before the loader begins anew: its workers have copies of the data set."""
        dataset = trainer.train_loader.dataset
        dataset.transforms = self._transforms
        if self._flag is not None:
            dataset.mosaic = self._flag


def closing_epoch(trainer: Any) -> int:
    """The epoch, from 0, from which on mosaic is closed; the number of all where it never is."""
    return int(trainer.epochs) - int(trainer.args.close_mosaic or 0)
