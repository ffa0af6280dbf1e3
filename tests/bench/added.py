"""What the hooks add to a batch, measured within one training: they are taken off and put back every few batches.

    python -m tests.bench.added --batches 4000 --daemon healthy

Two trainings in a row differ by more than any hook costs, and timing our own calls counts what the training would pay
without them: the interpreter has left the processor's caches whenever torch has computed for a while, and whoever runs
first loads it. So each block of batches with hooks is compared with the blocks without on either side of it. Two
clocks: what passes, and the CPU time of the thread that trains, which nothing else on the machine disturbs.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.overhead import daemon, prepare, train

# The first of each is left out: the one before it was of the other kind. Not a divisor of an epoch's 40 batches, or a
# place in the epoch would always be of the same kind.
BLOCK_BATCHES = 7
WARM_BATCHES = 40
TRIMMED = 0.25  # of the differences, at either end: somebody else had the processor or its caches
SHARED = math.sqrt(4 / 3)  # neighbouring differences share a block without hooks: the standard error is larger by this
CLOCKS: dict[str, Callable[[], float]] = {"CPU of the training's thread": time.thread_time, "time": time.perf_counter}
HARMLESS = {"mosaic": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}


class Switch:
    """Takes the hooks off a running training and puts them back; times the batches."""

    def __init__(self) -> None:
        self.blocks: list[tuple[bool, list[list[float]]]] = []  # with hooks?; seconds of each batch by each clock
        self._count = 0
        self._marks: list[float] = []
        self._taken: dict[str, Any] = {}

    def on_train_batch_start(self, trainer: Any) -> None:
        """The batch before is over, the next may be of the other kind."""
        now = [clock() for clock in CLOCKS.values()]
        within = self._count % BLOCK_BATCHES
        if self._count > WARM_BATCHES and within != 1:
            if not self.blocks or self.blocks[-1][0] is bool(self._taken):
                self.blocks.append((not self._taken, []))
            self.blocks[-1][1].append([end - begin for end, begin in zip(now, self._marks, strict=True)])
        if within == 0 and self._count:
            self._put_back(trainer) if self._taken else self._take_off(trainer)
        self._count += 1
        self._marks = [clock() for clock in CLOCKS.values()]

    def _take_off(self, trainer: Any) -> None:
        from trainer_hooks.integrations.ultralytics import attachment

        self._taken = {"session": attachment._sessions.pop(id(trainer)), "step": trainer.optimizer.step}
        trainer.optimizer.step = trainer.optimizer.step.__func__._replaced  # the scheduler's
        for owner, name in self._wrapped(trainer):
            self._taken[name] = vars(owner).pop(name)

    def _put_back(self, trainer: Any) -> None:
        from trainer_hooks.integrations.ultralytics import attachment

        taken, self._taken = self._taken, {}
        attachment._sessions[id(trainer)] = taken["session"]
        trainer.optimizer.step = taken["step"]
        for owner, name in self._wrapped(trainer):
            setattr(owner, name, taken[name])

    @staticmethod
    def _wrapped(trainer: Any) -> list[tuple[Any, str]]:
        return [(trainer, "optimizer_step"), (trainer, "preprocess_batch"), (trainer.ema, "update")]


def added(blocks: Sequence[tuple[bool, list[list[float]]]], clock: int) -> tuple[float, float, float]:
    """Seconds that the hooks add to a batch, their standard error, and the seconds of a batch without hooks."""
    blocks_s = [statistics.median(batch[clock] for batch in batches) for _, batches in blocks]
    differences = sorted(
        blocks_s[i] - (blocks_s[i - 1] + blocks_s[i + 1]) / 2 for i in range(1, len(blocks) - 1) if blocks[i][0]
    )
    cut = int(TRIMMED * len(differences))
    kept = differences[cut : len(differences) - cut]
    without_s = statistics.median(mean for mean, (hooked, _) in zip(blocks_s, blocks, strict=True) if not hooked)
    error_s = SHARED * _trimmed_error(differences, cut)
    return statistics.mean(kept), error_s, without_s


def _trimmed_error(ordered: list[float], cut: int) -> float:
    """The standard error of a mean from which `cut` values at either end were left out (Tukey and McLaughlin 1963)."""
    kept = ordered[cut : len(ordered) - cut]
    pulled_in = [kept[0]] * cut + kept + [kept[-1]] * cut
    return statistics.stdev(pulled_in) * math.sqrt(len(ordered)) / len(kept)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table. None: the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="tiny", help="tiny, or any model YAML of Ultralytics")
    parser.add_argument("--batches", type=int, default=4000)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--daemon", default="healthy", choices=["healthy", "stopped", "absent"])
    options = parser.parse_args(arguments)
    import ultralytics.engine.trainer as trainer_module

    from trainer_hooks.integrations.ultralytics import attach

    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    switch = Switch()
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        os.environ["TRAINWARDEN_HOME"] = str(Path(folder) / "home")
        with daemon(options.daemon):
            given, model = prepare(Path(folder), options)
            attach(trainer_module)
            train({**given, **HARMLESS}, model, {"on_train_batch_start": switch.on_train_batch_start})
    print(f"\nmodel {options.model}, {options.device}, daemon {options.daemon}, {len(switch.blocks)} blocks")
    for number, name in enumerate(CLOCKS):
        more_s, error_s, without_s = added(switch.blocks, number)
        share, error = more_s / without_s, error_s / without_s
        print(
            f"{name:30} +{more_s * 1e6:6.0f} us, standard error {error_s * 1e6:4.0f} us, "
            f"of {without_s * 1e3:6.2f} ms: {share:+.2%} (standard error {error:.2%})"
        )


if __name__ == "__main__":
    main()
