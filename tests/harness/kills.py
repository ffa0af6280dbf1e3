"""A real training under `trainwarden run` that is killed with SIGKILL again and again, and what each kill cost it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.night_run import ROOT, Supervised, environment_of_home
from tests.harness.supervisor import eventually
from trainer_hooks.wire.runfolder import Checkpoint, Plan, read

EVERY_S = 0.5
REPORTED_S = 0.05  # from the end of a file until its manifest and its event are on disk too
LOOK_S = 0.001  # between two looks at the spool; the file of a snapshot takes tens of milliseconds
START_S = 240.0  # of a process on a machine under load, until its first batch
POLICY = f"""\
version: 1
snapshots: {{every_s: {EVERY_S}}}
restart: {{tries: 100, batches_min: 1}}
rollback: {{redo_limit_epochs: 1000}}
"""
SCRIPT = """
import hashlib, json, os, sys, time
from pathlib import Path
from ultralytics import YOLO
from trainer_hooks.snapshots import due

due.SHARE_MAX = 1e9  # else the pauses of so short batches allow for a snapshot every few seconds only
given = json.loads(sys.argv[1])
log = os.open(given["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def at_batch(trainer):
    os.write(log, f"{os.environ.get('TRAINWARDEN_GENERATION', 0)} {trainer.ema.updates} {time.time()}\\n".encode())

def at_end(trainer):
    digest = hashlib.sha256()
    for module in (trainer.model, trainer.ema.ema):
        for tensor in module.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    Path(given["weights"]).write_text(digest.hexdigest())

model = YOLO(given["model"])
model.add_callback("on_train_batch_end", at_batch)
model.add_callback("on_train_end", at_end)
model.train(**given["arguments"])
"""


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
        """A line a batch: generation, batches that the state holds, Unix time."""
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
        return [sys.executable, str(script), json.dumps(given)]

    def left_alone(self, home: Path) -> str:
        """Train without trainwarden; the digest of the weights."""
        environment = environment_of_home(home, PYTHONPATH=str(ROOT))
        subprocess.run(self.argv(), env=environment, cwd=self.folder, check=True, capture_output=True, timeout=600)
        return self.weights.read_text()

    def lived(self, generation: int) -> list[tuple[int, float]]:
        """Batches held and time, of each batch of a generation."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines() if line.count(" ") == 2]
        return [(int(held), float(at_s)) for number, held, at_s in lines if int(number) == generation]


@dataclass(frozen=True)
class Kill:
    """One kill, and what the next generation began with."""

    generation: int  # that was killed
    inside: bool  # a file of a saved state was being written
    snapshot: bool  # the next generation went on from a snapshot
    lost: int  # batches
    lost_s: float  # since the state was taken that was gone on from
    slowest_s: float  # batch of that time
    writing_s: float  # how long the file had been in writing that the kill cut off; 0: there was none
    longest_s: float  # that any file of the generation was in writing: the next snapshot waits for it

    @property
    def allowed_s(self) -> float:
        """What may be lost: the interval, the batch at its end, the batch that was cut off, and a file in writing."""
        return max(EVERY_S, self.longest_s) + 2 * self.slowest_s + self.writing_s + REPORTED_S


@dataclass
class Killing:
    """The run, and its killer."""

    scene: Scene
    home: Path
    draw: random.Random
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = Supervised(self.home, self.scene.argv(), run="killed", policy=POLICY, cwd=self.scene.folder)
        self._begun_at = 0  # batches that the generation began with
        self._reached = 0  # batches that any generation held when it died

    def kill(self, *, inside: bool, within: int) -> Kill:
        """Kill the present generation at a random batch of the next `within`, or in the next file that it writes.

        It is one batch further at least than where the last one died: a training that dies in the same way and comes
        no further is not started again.
        """
        number = len(self.kills) + 1
        pid = self.run.until_generation(number).pid
        until = max(self._reached, self._begun_at) + self.draw.randint(2, within)
        seen = self._watch(number, until, inside=inside)
        os.kill(pid, signal.SIGKILL)
        died_s = time.time()
        return self._counted(number, died_s, seen, self._following(number))

    def finish(self) -> int:
        """Its exit code."""
        self.run.until("its end", self.scene.weights.exists, START_S)
        return self.run.wait()

    def _watch(self, number: int, until: int, *, inside: bool) -> dict[str, tuple[float, float]]:
        """Return when the moment has come; the files that were being written at any time: since and until when."""
        seen: dict[str, tuple[float, float]] = {}
        deadline_s, late_s = time.monotonic() + START_S, self.draw.uniform(0.0, 0.02)
        looked_s, held = 0.0, 0
        while time.monotonic() < deadline_s:
            writing = self._in_writing()
            for name in writing:
                seen[name] = seen.get(name, (time.time(),))[0], time.time()
            if time.monotonic() - looked_s > 20 * LOOK_S:
                lived = self.scene.lived(number)
                looked_s, held = time.monotonic(), lived[-1][0] if lived else 0
            may_go_on = number > 1 or seen.keys() - set(writing)  # there is a state to go on from
            if held >= until and may_go_on and (not inside or writing):
                time.sleep(0.0 if inside else late_s)
                return seen
            assert self.run.process.poll() is None, self.run.shown
            time.sleep(LOOK_S)
        raise AssertionError(f"generation {number} did not come so far in {START_S:.0f} s: {self.run.shown}")

    def _in_writing(self) -> list[str]:
        spool = self.run.folder.spool
        return [each.name for each in spool.glob(".*.part")] if spool.exists() else []

    def _following(self, number: int) -> Plan:
        """The plan of the next generation."""
        path = self.run.folder.plan(number + 1)
        self.run.until(f"the plan of generation {number + 1}", path.exists, START_S)
        return read(path, Plan)

    def _counted(self, number: int, died_s: float, seen: dict[str, tuple[float, float]], plan: Plan) -> Kill:
        lived, cut = self.scene.lived(number), self._cut_off(number)
        target = plan.snapshot or plan.checkpoint
        assert target is not None, plan
        assert_whole(target)
        held = target.epoch * self.scene.batches + target.extra_batches
        assert held >= self._begun_at, f"generation {number + 1} begins before generation {number} did"
        since = [at_s for batches, at_s in lived if batches >= held]
        window = [each for each in [lived[0][1], *since] if each >= since[0]] if since else [died_s]
        gaps = [after - before for before, after in zip(window, [*window[1:], died_s], strict=True)]
        kill = Kill(
            number, bool(cut), plan.snapshot is not None, lived[-1][0] - held, died_s - window[0], max(gaps),
            max((died_s - seen.get(name, (died_s,))[0] for name in cut), default=0.0),
            max((last - first for first, last in seen.values()), default=0.0),
        )  # fmt: skip
        self.kills.append(kill)
        self._begun_at, self._reached = held, max(self._reached, lived[-1][0])
        following = eventually("its first batch", lambda: self._alive() and self.scene.lived(number + 1), START_S)
        assert following[0][0] == held + 1, "it does not go on where its state was taken"
        return kill

    def _alive(self) -> bool:
        assert self.run.process.poll() is None, self.run.shown
        return True

    def _cut_off(self, number: int) -> list[str]:
        """What the killed generation left half-written; the next one removes it when it saves."""
        return [name for name in self._in_writing() if name.startswith(f".g{number}-")]


def assert_whole(state: Checkpoint) -> None:
    """The state that is gone on from is the one that was digested when it was written."""
    content = Path(state.path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == state.digest, f"{state.path} is torn"
