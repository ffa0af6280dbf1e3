"""Names every image of a mosaic, mixup or cutmix: Ultralytics names the first one only. Changes its augmentation.

The name of such an image becomes a `MixedName`: the same text, which also carries the other names from the loader's
processes to the training's. There `signals.contents_before` puts plain texts back before the training sees the batch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

AUGMENTATION = "ultralytics.data.augment"
HOOKED = "_update_label_text"  # of BaseMixTransform: called for each mixed image once its partners are known


class MixedName(str):
    """The name of an image that was mixed from several; equal to its text, and pickled with the other names."""

    __slots__ = ("mixed",)
    mixed: tuple[str, ...]  # names of the other images in it

    def __new__(cls, name: str, mixed: tuple[str, ...]) -> MixedName:  # noqa: PYI034 - Self is not in Python 3.10
        made = super().__new__(cls, name)
        made.mixed = mixed
        return made

    def __reduce__(self) -> tuple[Callable[..., MixedName], tuple[str, tuple[str, ...]]]:
        return MixedName, (str(self), self.mixed)


def name_mixed_images() -> None:
    """Have every image that is mixed from now on carry all names. Again is harmless."""
    transform = importlib.import_module(AUGMENTATION).BaseMixTransform
    original = getattr(transform, HOOKED)
    if getattr(original, "_trainwarden", False):
        return

    @functools.wraps(original)
    def update_label_text(labels: dict[str, Any]) -> Any:
        updated = original(labels)
        with contextlib.suppress(Exception):  # in a process of the loader: without them the image keeps its one name
            _add_partners(labels)
        return updated

    update_label_text._trainwarden = True  # type: ignore[attr-defined]
    setattr(transform, HOOKED, staticmethod(update_label_text))


def _add_partners(labels: dict[str, Any]) -> None:
    partners = [partner["im_file"] for partner in labels["mix_labels"]]
    own = labels["im_file"]
    known = [*getattr(own, "mixed", ()), *_all_names(partners)]
    labels["im_file"] = MixedName(str(own), tuple(dict.fromkeys(known)))


def all_names(names: Sequence[Any]) -> tuple[str, ...]:
    """The names of everything in a batch, first images first. For bad batches: it goes through all that was mixed."""
    return tuple(dict.fromkeys([*map(str, names), *_all_names(names)]))


def _all_names(names: Iterable[Any]) -> list[str]:
    return [text for name in names for text in (str(name), *getattr(name, "mixed", ()))]
