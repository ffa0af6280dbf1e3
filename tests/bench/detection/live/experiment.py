"""One live training of the bench, as its child process gets it. Values only."""

from __future__ import annotations

import msgspec

TRAININGS = ("mlp", "cnn", "chars", "yolo")
TIMED = ("slower", "hang")  # faults that are nothing but time


class Experiment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to train, and what to do to it. The same experiment draws the same data, weights and places."""

    training: str  # one of TRAININGS
    seed: int
    batches: int
    precision: str = "fp32"  # or "bf16": autocast
    lengths: str = "fixed"  # or "variable": of a batch's sequences
    fault: str = ""  # a name in parts/injections.py; empty: nothing is done
    strength: float = 0.0  # in the fault's own unit
    at: int = 0  # first batch of the fault, from 0
    lasts: int = 0  # batches; 0: for ever
    period_s: float = 0.0  # the work of a batch takes at least this long; 0: as fast as it goes
    device: str = "cpu"

    @property
    def kind(self) -> str:
        """The training without its fault: "chars bf16 variable"."""
        words = [self.training, self.precision, "variable" if self.lengths == "variable" else ""]
        return " ".join(word for word in words if word) + (" paced" if self.period_s else "")

    @property
    def on_the_wall(self) -> bool:
        """True: its times are those of the wall; else those of the processor, see parts/clock.py."""
        return bool(self.period_s) or self.training == "yolo" or self.device != "cpu" or self.fault in TIMED

    def text(self) -> str:
        """As JSON, from which it can be run again."""
        return msgspec.json.encode(self).decode()

    def active(self, at: int) -> bool:
        """True: the fault is on in batch `at`."""
        return bool(self.fault) and at >= self.at and (not self.lasts or at < self.at + self.lasts)
