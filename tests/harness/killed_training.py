"""The trainings that are killed: their scripts, and what they write down of every batch and every end of an epoch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.night_run import ROOT, environment_of_home

HEAD = """
import hashlib, json, os, sys, time
from pathlib import Path
import torch
from trainer_hooks.snapshots import due

due.SHARE_MAX = 1e9  # else the pauses of so short batches allow for a snapshot every few seconds only
given = json.loads(sys.argv[1])
log = os.open(given["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
generation = os.environ.get("TRAINWARDEN_GENERATION", 0)

def note(place, held):
    os.write(log, f"{generation} {place} {held} {time.time()}\\n".encode())

def write_digest(*modules):
    digest = hashlib.sha256()
    for module in modules:
        for tensor in module.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    Path(given["weights"]).write_text(digest.hexdigest())
"""
ULTRALYTICS = (
    HEAD
    + """
from ultralytics import YOLO

held = 0

def noting(place):
    def write(of):
        global held
        held = of.ema.updates if getattr(of, "ema", None) else held  # a validator has none
        note(place, held)
    return write

model = YOLO(given["model"])
for event, place in given["places"].items():
    model.add_callback(event, noting(place))
model.add_callback("on_train_end", lambda trainer: write_digest(trainer.model, trainer.ema.ema))
model.train(**given["arguments"])
"""
)
HAND_WRITTEN = (
    HEAD
    + """
from torch import nn
from torch.optim.swa_utils import AveragedModel
from trainer_hooks.integrations.plain import watch

EPOCHS, BATCHES, SIZE = given["epochs"], given["batches"], 8

class Loader:  # shuffled; its place is in its state, as in torchdata's StatefulDataLoader
    def __init__(self):
        drawn = torch.Generator().manual_seed(0)
        self.images = torch.rand(SIZE * BATCHES, 3, 32, 32, generator=drawn)
        self.epoch = self.next = 0

    def __iter__(self):
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.epoch))
        while self.next < BATCHES:
            self.next += 1
            yield self.images[order[SIZE * (self.next - 1) : SIZE * self.next]]
        self.epoch, self.next = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "next": self.next}

    def load_state_dict(self, state):
        self.epoch, self.next = state["epoch"], state["next"]

def layer(n, m):
    return nn.Sequential(nn.Conv2d(n, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU(), nn.Dropout(0.1))

torch.manual_seed(3)
model = nn.Sequential(layer(3, 16), layer(16, 16), nn.MaxPool2d(2), layer(16, 32), nn.Flatten(), nn.Linear(8192, 1))
optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=EPOCHS * BATCHES)
average, loader = AveragedModel(model), Loader()
watched = {"epochs": EPOCHS, "batches_per_epoch": BATCHES, "scheduler": scheduler, "ema": average, "loader": loader}

def loss_of(x):
    return (model(x).squeeze(1) - x.mean((1, 2, 3))).square().mean()

with watch(model, optimizer, **watched) as loop:
    epochs, batches = loop.resume()
    for epoch in range(epochs + 1, EPOCHS + 1):
        note("epoch", held := (epoch - 1) * BATCHES + batches)
        for number, x in enumerate(loader, batches + 1):
            loss = loss_of(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            average.update_parameters(model)
            note("batch", held := (epoch - 1) * BATCHES + number)
            loop.batch(loss, epoch=epoch)
        batches = 0
        note("validation", held)
        model.eval()
        with torch.no_grad():
            [loss_of(x) for x in loader.images.split(SIZE)]
        model.train()
        note("saving", held)
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, "last.pt")
        note("saved", held)
write_digest(model, average)
"""
)
BATCH = "batch"  # it has ended
EPOCH = "epoch"  # it begins
PLACES = {  # of Ultralytics
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
    script: str
    given: dict[str, Any]  # to the script
    batches: int  # of an epoch; each takes one optimizer step
    epochs: int
    snapshots: bool = True  # False: it goes on from its checkpoints alone

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
        script.write_text(self.script)
        given = self.given | {"log": str(self.log), "weights": str(self.weights), "places": PLACES}
        given |= {"epochs": self.epochs, "batches": self.batches}
        if "arguments" in given:
            given["arguments"] = given["arguments"] | {"project": str(self.folder), "epochs": self.epochs}
        return [sys.executable, str(script), json.dumps(given)]

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
