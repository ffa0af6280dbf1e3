"""The data of the live trainings, drawn from a seed: noisy clusters, noisy pictures, and text of a small grammar."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

import torch

CLASSES = 10
CLUSTER_FEATURES = 32
PICTURE_SIDE_PIXELS = 12
VOCABULARY = string.ascii_lowercase + " .,"
LENGTH = 32
LENGTH_MIN, LENGTH_MAX = 8, 64
TEXT_CHARACTERS = 200_000

NOUNS = ("river", "engine", "valley", "signal", "market", "window", "garden", "lantern", "harbour", "teacher")
VERBS = ("follows", "watches", "carries", "finds", "opens", "remembers", "leaves", "repairs")
ADJECTIVES = ("quiet", "narrow", "green", "broken", "early", "distant", "heavy", "bright")

Batch = tuple[torch.Tensor, torch.Tensor]


def clusters(seed: int, samples: int = 32) -> Iterator[Batch]:
    """Points (samples, CLUSTER_FEATURES) around one centre for each class, far enough from each other to be learnt."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, CLUSTER_FEATURES, generator=draw)
    while True:
        labels = torch.randint(CLASSES, (samples,), generator=draw)
        yield centres[labels] + 1.5 * torch.randn(samples, CLUSTER_FEATURES, generator=draw), labels


def pictures(seed: int, samples: int = 16) -> Iterator[Batch]:
    """Pictures (samples, 3, side, side): the pattern of a class, shifted, in noise."""
    draw = torch.Generator().manual_seed(seed)
    side = PICTURE_SIDE_PIXELS
    patterns = torch.randn(CLASSES, 3, side, side, generator=draw)
    while True:
        labels = torch.randint(CLASSES, (samples,), generator=draw)
        shift = int(torch.randint(3, (1,), generator=draw))
        clean = patterns[labels].roll(shift, dims=3)
        yield clean + 1.5 * torch.randn(samples, 3, side, side, generator=draw), labels


def text(seed: int, samples: int = 8, *, variable: bool = False) -> Iterator[Batch]:
    """Pieces of text (samples, length) and the characters that follow; `variable`: each batch has its own length."""
    draw = random.Random(seed)
    written = torch.tensor([VOCABULARY.index(letter) for letter in _sentences(draw)])
    while True:
        length = draw.randint(LENGTH_MIN, LENGTH_MAX) if variable else LENGTH
        starts = [draw.randrange(len(written) - length - 1) for _ in range(samples)]
        pieces = torch.stack([written[start : start + length + 1] for start in starts])
        yield pieces[:, :-1], pieces[:, 1:].flatten()


def _sentences(draw: random.Random) -> str:
    pieces: list[str] = []
    size = 0
    while size < TEXT_CHARACTERS:
        pieces.append(f"{_thing(draw)} {draw.choice(VERBS)} {_thing(draw)}{draw.choice((', ', '. '))}")
        size += len(pieces[-1])
    return "".join(pieces)


def _thing(draw: random.Random) -> str:
    adjective = f"{draw.choice(ADJECTIVES)} " if draw.random() < 0.5 else ""
    return f"the {adjective}{draw.choice(NOUNS)}"
