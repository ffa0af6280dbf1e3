"""The three small networks of the live trainings. Each names the modules that a fault may spoil."""

from __future__ import annotations

import torch
from torch import nn

from tests.bench.detection.live.parts.samples import CLASSES, CLUSTER_FEATURES, LENGTH_MAX, VOCABULARY

WIDTH = 48


class Mlp(nn.Module):  # type: ignore[misc] # torch is not checked against
    """Two hidden layers over (samples, CLUSTER_FEATURES)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(CLUSTER_FEATURES, 96)
        self.middle = nn.Linear(96, 96)
        self.head = nn.Linear(96, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores, (samples, CLASSES)."""
        return self.head(torch.relu(self.middle(torch.relu(self.entry(x)))))


class Cnn(nn.Module):  # type: ignore[misc] # torch is not checked against
    """Three convolutions with BatchNorm over (samples, 3, side, side)."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.middle = nn.Conv2d(12, 24, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(12), nn.BatchNorm2d(24)])
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores, (samples, CLASSES)."""
        x = torch.max_pool2d(torch.relu(self.norms[0](self.entry(x))), 2)
        x = torch.relu(self.norms[1](self.middle(x)))
        return self.head(x.mean((2, 3)))


class Chars(nn.Module):  # type: ignore[misc] # torch is not checked against
    """A causal transformer of two layers over (samples, length) of character numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Embedding(len(VOCABULARY), WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH_MAX, WIDTH))
        self.layers = nn.ModuleList([_layer(), _layer()])
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, len(VOCABULARY))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the next character, (samples * length, characters)."""
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf"), device=x.device).triu(1)
        hidden = self.entry(x) + self.places[:length]
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        return self.head(torch.relu(self.middle(hidden))).flatten(0, 1)


def _layer() -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
