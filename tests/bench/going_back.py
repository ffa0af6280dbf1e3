"""What going back to an older state costs a real YOLO training: its steps in time, and the batches that are done again.

    python -m tests.bench.going_back

One tiny training of 2 epochs under a real `trainwarden run`, again and again, with one fault at the middle of epoch 2:
NaN in all weights, a hang, or kill -9; with snapshots within the epoch and without, in its process and by a new start.
The limits of the policy are short, so that the tables do not wait for the 15 minutes after which a hang is acted on.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.machine import loaded
from tests.harness.night_run import Supervised, fresh_home
from tests.harness.yolo import BATCH, go_offline, make_lab
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit, Generation
from trainer_hooks.wire.runfolder import RunFolder

BATCHES, EPOCHS = 80, 2
FAULT_AT = BATCHES + BATCHES // 2  # batches that are done
EVERY_S = 1.0
WITHIN_S = 300.0
POLICY = """\
version: 1
snapshots: {{every_s: {every_s}}}
rollback: {{in_process: {in_process}, healthy_batches: 5, cool_down_batches: 5, grace_s: 5}}
strengthen: {{warmup_epochs: 0}}
watch: {{batches_min: 20, onset_samples: false}}
restart: {{batches_min: 1}}
detectors: {{hang: {{floor_s: 3, act_floor_s: 8, act_intervals: 5}}}}
"""
SCRIPT = """
import functools, json, os, signal, sys, time
from pathlib import Path
import torch
from ultralytics import YOLO
from trainer_hooks.integrations.ultralytics import session, start
from trainer_hooks.snapshots import due

due.SHARE_MAX = 1e9  # else the pauses of so short batches allow for a snapshot every few seconds only
given = json.loads(sys.argv[1])
log = os.open(given["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(what, count=0):
    os.write(log, f"{os.environ['TRAINWARDEN_GENERATION']} {what} {count} {time.time()}\\n".encode())

def noted(owner, name):
    call = getattr(owner, name)
    @functools.wraps(call)
    def run(*args, **options):
        note(name + ":begin")
        try:
            return call(*args, **options)
        finally:
            note(name + ":end")
    setattr(owner, name, run)

noted(session.Session, "_prepare_to_go_back")
noted(session.Session, "_go_back")
noted(start, "put_back_within")

def at_batch(trainer):
    done, mark = trainer.ema.updates, Path(given["mark"])
    note("batch", done)
    if done == given["at"] and not mark.exists():
        mark.touch()
        note("fault")
        if given["fault"] == "nan":
            with torch.no_grad():
                for each in [*trainer.model.parameters(), *trainer.ema.ema.parameters()]:
                    each.fill_(float("nan"))
        if given["fault"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if given["fault"] == "hang":
            time.sleep(3600)

model = YOLO(given["model"])
model.add_callback("on_train_start", lambda trainer: note("on_train_start"))
model.add_callback("on_train_batch_end", at_batch)
model.train(**given["arguments"])
"""


@dataclass(frozen=True)
class Way:
    """One run of the bench."""

    fault: str
    snapshots: bool
    in_process: bool = True

    @property
    def name(self) -> str:
        """The row of the table."""
        fault = {"nan": "NaN in all weights", "kill": "kill -9", "hang": "a hang"}[self.fault]
        how = {"nan": ", in its process" if self.in_process else ", by a new start"}.get(self.fault, "")
        return f"{fault}{how if self.snapshots else ''}"


WAYS = (
    Way("nan", snapshots=True), Way("nan", snapshots=True, in_process=False), Way("nan", snapshots=False),
    Way("kill", snapshots=True), Way("kill", snapshots=False),
    Way("hang", snapshots=True), Way("hang", snapshots=False),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Something that the training wrote down."""

    generation: int
    what: str
    count: int
    at_s: float


@dataclass(frozen=True)
class Played:
    """A run that is over. Its folder is gone soon."""

    lines: list[Line]
    folder: RunFolder
    plan: Plan

    @property
    def fault_s(self) -> float:
        return self._first("fault").at_s

    @property
    def redone(self) -> int:
        """Batches beyond those of a healthy training: the ruined ones after the fault, and those done a second time."""
        done = [line.count for line in self.lines if line.what == "batch"]
        return len(done) - BATCHES * EPOCHS

    @property
    def first_good(self) -> Line:
        """The first batch after the state was put back."""
        begun = next(n for n, line in enumerate(self.lines) if line.what == "_go_back:end" or line.generation > 1)
        return next(line for line in self.lines[begun:] if line.what == "batch")

    @property
    def anew_s(self) -> float:
        """When it was as far again as at the fault."""
        return [line for line in self.lines if line.what == "batch" and line.count == FAULT_AT + 1][-1].at_s

    def steps(self) -> Iterator[tuple[str, float]]:
        """What happened one after the other since the order was on disk, with the time that each took."""
        times = list(self._inside() if self.plan.in_process else self._anew())
        for (_, before_s), (name, after_s) in pairwise([("", self.plan.written_s), *times]):
            yield name, after_s - before_s
        yield "**in all**", times[-1][1] - self.plan.written_s

    def _inside(self) -> Iterator[tuple[str, float]]:
        yield "order sent, and taken at a batch's end", self._first("_prepare_to_go_back:begin").at_s
        yield "state read from its file and checked", self._first("_prepare_to_go_back:end").at_s
        yield "loop left, and begun again", self._first("_go_back:begin").at_s
        yield "state and settings put back", self._first("_go_back:end").at_s
        yield "first batch", self.first_good.at_s

    def _anew(self) -> Iterator[tuple[str, float]]:
        yield (
            "order sent, and carried out at a batch's end",
            read(self.folder.receipt(self.plan.order), Receipt).written_s,
        )
        yield "loop left, and every process gone", read(self.folder.exit(1), Exit).ended_s
        yield "next process started", read(self.folder.generation(2), Generation).started_s
        yield "imports, model and data built", self._first("put_back_within:begin").at_s
        yield "state read from its file and put back", self._first("put_back_within:end").at_s
        yield "first batch", self.first_good.at_s

    def _first(self, what: str) -> Line:
        return next(line for line in self.lines if line.what == what)


def play(way: Way, model: Path, arguments: dict[str, Any]) -> tuple[Played, list[tuple[str, float]]]:
    """Run it to its end; with the steps of going back where the process was not lost."""
    with fresh_home() as home:
        training = home / "training"
        training.mkdir()
        script, log = training / "train.py", training / "log.txt"
        script.write_text(SCRIPT)
        given = {
            "fault": way.fault, "at": FAULT_AT, "log": str(log), "mark": str(training / "mark"), "model": str(model),
            "arguments": arguments | {"project": str(training), "epochs": EPOCHS},
        }  # fmt: skip
        policy = POLICY.format(every_s=EVERY_S if way.snapshots else 0, in_process=str(way.in_process).lower())
        argv = [sys.executable, str(script), json.dumps(given)]
        run = Supervised(home, argv, run="back", policy=policy, cwd=training)
        code = run.process.wait(WITHIN_S)
        lines = [
            Line(int(g), what, int(n), float(at)) for g, what, n, at in map(str.split, log.read_text().splitlines())
        ]
        plans = [read(path, Plan) for path in run.folder.root.glob("*plan-*.json")]
        plans += [read(path, Plan) for path in run.folder.root.glob("adjust-*.json")]
        if code or not plans:
            raise SystemExit(f"{way}: the run ended with {code}\n{run.shown[-4000:]}")
        played = Played(lines, run.folder, min(plans, key=lambda plan: plan.written_s))
        return played, list(played.steps()) if way.fault == "nan" and way.snapshots else []


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        go_offline(Path(folder) / "config")
        lab = make_lab(Path(folder) / "lab", images=BATCHES * BATCH)
        print(
            f"{loaded()}; {EPOCHS} epochs of {BATCHES} batches, the fault after batch {FAULT_AT - BATCHES} of epoch 2\n"
        )
        heads = ("fault", "snapshots", "back to", "batches done again", "fault to first good batch", "as far again")
        table, steps = [], []
        for way in WAYS:
            played, times = play(way, lab.model, lab.arguments(Path(folder)))
            began_s, plan = played.fault_s, played.plan
            back = f"batch {plan.snapshot.extra_batches} of epoch 2" if plan.snapshot else "the end of epoch 1"
            table.append(
                (way.name, f"every {EVERY_S:g} s" if way.snapshots else "none", back, str(played.redone),
                 f"{played.first_good.at_s - began_s:.2f} s", f"{played.anew_s - began_s:.2f} s")
            )  # fmt: skip
            print(f"{time.strftime('%H:%M:%S')} {way}", file=sys.stderr, flush=True)
            if times:
                steps.append((way, times))
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for row in table:
            print(f"| {' | '.join(row)} |")
        for way, found in steps:
            print(f"\n| {way.name}, from the plan on disk | |\n|---|---|")
            for name, seconds in found:
                print(f"| {name} | {seconds:.3f} s |")


if __name__ == "__main__":
    main()
