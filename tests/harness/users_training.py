"""What a training of the user's script leaves behind: its figures, its weights, and the steps it left out."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.night_run import Daemon, environment_of_home


@dataclass(frozen=True)
class Ended:
    """A training that is over."""

    home: Path
    code: int
    shown: str

    @property
    def weights_folder(self) -> Path:
        return self.home / "runs" / "train" / "weights"

    @property
    def figures(self) -> list[list[str]]:
        """results.csv without its times."""
        lines = (self.weights_folder.parent / "results.csv").read_text().split()
        assert lines[0].startswith("epoch,time,")
        return [[row[0], *row[2:]] for row in (line.split(",") for line in lines)]

    @property
    def last_loss(self) -> float:
        """Of the last epoch, box and class and dfl together."""
        names, last = self.figures[0], self.figures[-1]
        return sum(float(value) for name, value in zip(names, last, strict=True) if name.startswith("train/"))

    @property
    def best_map(self) -> float:
        """Of any epoch: that of a training as small as these goes up and down."""
        names, *rows = self.figures
        return max(float(row[names.index("metrics/mAP50(B)")]) for row in rows)

    @property
    def fired(self) -> list[str]:
        return (self.home / "fired").read_text().splitlines()

    def weights(self, name: str = "last.pt") -> dict[str, Any]:
        """Of a checkpoint, which only opens where the script's own class is found again."""
        from ultralytics.utils.patches import torch_load

        loaded = torch_load(self.weights_folder / name, map_location="cpu")
        found: dict[str, Any] = (loaded.get("ema") or loaded["model"]).float().state_dict()
        return found


def train_alone(home: Path, argv: list[str]) -> Ended:
    """One training under nohup, without trainwarden."""
    done = subprocess.run(
        ["nohup", *argv], env=environment_of_home(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=400,
    )  # fmt: skip
    return Ended(home, done.returncode, done.stdout)


def assert_same_weights(one: Ended, other: Ended, name: str = "last.pt") -> None:
    """Of this checkpoint of both, to the last bit."""
    import torch

    ours, theirs = one.weights(name), other.weights(name)
    assert ours.keys() == theirs.keys()
    assert [each for each in theirs if not torch.equal(ours[each], theirs[each])] == []


def assert_usable(over: Ended) -> None:
    """Its last.pt holds numbers alone, and not zeros alone."""
    import torch

    weights = over.weights()
    assert [name for name, value in weights.items() if not bool(torch.isfinite(value).all())] == []
    assert any(bool((value != 0).any()) for value in weights.values())


def skipped_by(home: Path) -> dict[str, float]:
    """Optimizer steps that were left out, by who did that, as the daemon counts them."""
    lines = [line for line in Daemon(home).metrics().splitlines() if "skipped_steps_total{" in line]
    return {line.split('by="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}
