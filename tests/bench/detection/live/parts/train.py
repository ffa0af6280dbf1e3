"""The child process of live trainings: this module with EXPERIMENTS, a JSON list, and FOLDER as its arguments.

Trains one after the other and writes 0.jsonl, 1.jsonl, ... into FOLDER. One that raises leaves its traceback beside
its stream, as 0.error, and the next goes on; ends with 0 all the same.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path

import msgspec
import torch

from tests.bench.detection.live.experiment import Experiment
from tests.bench.detection.live.parts.clock import clock_of
from tests.bench.detection.live.parts.sink import FileProbe

PARENT_LOOKED_FOR_S = 1.0
EXIT_ORPHANED = 3


def main() -> None:
    """Train them all."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    for number, experiment in enumerate(msgspec.json.decode(sys.argv[1], type=list[Experiment])):
        try:
            train(experiment, folder / f"{number}.jsonl")
        except Exception:  # noqa: BLE001 - whatever a training dies of, the others have their own result
            (folder / f"{number}.error").write_text(traceback.format_exc())


def end_with(parent: int) -> None:
    """End this process once `parent` is gone: nobody would read what it records."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOKED_FOR_S)
    os._exit(EXIT_ORPHANED)


def train(experiment: Experiment, path: Path) -> None:
    """Train what the experiment says and write its stream."""
    about = {"seed": str(experiment.seed), "fault": experiment.fault, "experiment": experiment.text()}
    if experiment.fault:
        about["onset"] = str(experiment.at)
    probe = FileProbe(path, experiment.kind, about, clock_of(experiment))
    try:
        if experiment.training == "yolo":
            from tests.bench.detection.live.parts import yolo

            yolo.train(experiment, probe, path.parent)
        else:
            from tests.bench.detection.live.parts.loop import Training

            Training(experiment, probe, path.with_suffix(".pt")).run()
    finally:
        probe.close()


if __name__ == "__main__":
    main()
