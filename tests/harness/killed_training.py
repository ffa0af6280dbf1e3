"""The training that is killed: its script, and what it writes down of every batch and of every end of an epoch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.harness.night_run import ROOT, environment_of_home

SCRIPT = """
import hashlib, json, os, sys, time
from pathlib import Path
from ultralytics import YOLO
from trainer_hooks.snapshots import due

due.SHARE_MAX = 1e9  # else the pauses of so short batches allow for a snapshot every few seconds only
given = json.loads(sys.argv[1])
log = os.open(given["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
generation, held = os.environ.get("TRAINWARDEN_GENERATION", 0), 0

def note(place):
    def write(of):
        global held
        held = of.ema.updates if getattr(of, "ema", None) else held  # a validator has none
        os.write(log, f"{generation} {place} {held} {time.time()}\\n".encode())
    return write

def at_end(trainer):
    digest = hashlib.sha256()
    for module in (trainer.model, trainer.ema.ema):
        for tensor in module.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    Path(given["weights"]).write_text(digest.hexdigest())

model = YOLO(given["model"])
for event, place in given["places"].items():
    model.add_callback(event, note(place))
model.add_callback("on_train_end", at_end)
model.train(**given["arguments"])
"""
BATCH = "batch"  # it has ended
EPOCH = "epoch"  # it begins
PLACES = {
    "on_train_epoch_start": EPOCH,
    "on_train_batch_end": BATCH,
    "on_train_epoch_end": "validation",
    "on_val_end": "saving",
    "on_model_save": "saved",
}


@dataclass(frozen=True)
class Line:
    """One line of the log: where the training was from then on."""

    place: str
    held: int  # batches that the state holds
    at_s: float  # Unix time


@dataclass(frozen=True)
class Scene:
    """The training that is killed: its script, its length, and where it writes down what it does."""

    folder: Path
    model: Path
    arguments: dict[str, object]
    batches: int  # of an epoch; each takes one optimizer step
    epochs: int

    @property
    def log(self) -> Path:
        return self.folder / "batches.log"

    @property
    def weights(self) -> Path:
        """The digest of the weights at the end."""
        return self.folder / "weights.txt"

    def argv(self) -> list[str]:
        self.folder.mkdir(parents=True)
        script = self.folder / "train.py"
        script.write_text(SCRIPT)
        arguments = self.arguments | {"project": str(self.folder), "epochs": self.epochs}
        given = {"log": str(self.log), "weights": str(self.weights), "model": str(self.model), "arguments": arguments}
        return [sys.executable, str(script), json.dumps(given | {"places": PLACES})]

    def left_alone(self, home: Path) -> str:
        """Train without trainwarden; the digest of the weights."""
        environment = environment_of_home(home, PYTHONPATH=str(ROOT))
        subprocess.run(self.argv(), env=environment, cwd=self.folder, check=True, capture_output=True, timeout=900)
        return self.weights.read_text()

    def lines(self, generation: int) -> list[Line]:
        """What a generation wrote, in order."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines() if line.count(" ") == 3]
        return [Line(place, int(held), float(at_s)) for number, place, held, at_s in lines if int(number) == generation]

    def lived(self, generation: int) -> list[int]:
        """Batches held after each batch of a generation."""
        return [line.held for line in self.lines(generation) if line.place == BATCH]

    def trains(self, line: Line) -> bool:
        """True: what follows is a batch; else validation, or the writing of a checkpoint."""
        return line.place == EPOCH or (line.place == BATCH and line.held % self.batches != 0)
