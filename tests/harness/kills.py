"""A real training under `trainwarden run` that is killed with SIGKILL again and again, and what each kill cost it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.killed_training import BATCH, Line, Scene
from tests.harness.night_run import Daemon, Supervised
from tests.harness.supervisor import eventually
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.plan import Checkpoint, Plan

EVERY_S = 0.5
REPORTED_S = 0.05  # from the end of a file until its manifest and its event are on disk too
LOOK_S = 0.001  # between two looks at the spool; the file of a snapshot takes tens of milliseconds
START_S = 240.0  # of a process on a machine under load, until its first batch
FURTHER = 6  # batches from where the last one died: the records of the last few may die with the process
LATE_S = 0.1  # after the batch of the moment: as long as a batch takes
INSIDE_S = 0.15  # from the beginning of a file, at most
END_S = 0.8  # after an epoch's last batch: validation and the saving of checkpoints fall into it
POLICY = """\
version: 1
snapshots: {every_s: %s}
restart: {tries: 100, batches_min: 1}
rollback: {redo_limit_epochs: 1000}
"""


@dataclass(frozen=True)
class Moment:
    """When a generation is killed, and what dies with it."""

    batches: int  # that the training holds by then, at least
    inside: bool = False  # in the writing of the next file of a saved state
    at_end: bool = False  # around the end of an epoch
    machine: bool = False  # supervisor and daemon die too, as in a power cut, and a person resumes the run


@dataclass(frozen=True)
class Kill:
    """One kill, and what the next generation began with."""

    generation: int  # that was killed
    moment: Moment
    place: str  # where the training was
    epoch: int  # from 1
    inside: bool  # a file of a saved state was being written
    snapshot: bool  # the next generation went on from a snapshot
    lost: int  # batches
    lost_s: float  # of training, without validations, since the state was taken that was gone on from
    slowest_s: float  # batch of that time
    taking_s: float  # since the last batch, after which a state may have been copied, or the one whose file was cut off
    longest_s: float  # that any file of the generation was in writing

    @property
    def allowed_s(self) -> float:
        """What may be lost: the interval, a batch, and the time in which the next state is copied and written.

        A state is taken between two batches, and until its file is whole the one before it is the newest. The interval
        counts from when a state was taken, and the next one is only taken when the file of the last is whole.
        """
        return max(EVERY_S, self.longest_s) + self.slowest_s + self.taking_s + REPORTED_S

    def __str__(self) -> str:
        what = "everything" if self.moment.machine else "the training"
        where = f"epoch {self.epoch}, {self.place}{', a file in writing' if self.inside else ''}"
        start = "a snapshot" if self.snapshot else "a checkpoint"
        return (
            f"  kill {self.generation} of {what} in {where}: {self.lost} batches ({self.lost_s:.2f} s) lost, "
            f"from {start}; slowest batch {self.slowest_s:.2f} s, taking {self.taking_s:.2f} s, "
            f"longest file {self.longest_s:.2f} s"
        )


def draw_moments(draw: random.Random, scene: Scene, kills: int, *, inside: int, machine: int) -> list[Moment]:
    """One in each of so many equal parts of the training; where an epoch ends in one, mostly around that."""
    share = (scene.epochs * scene.batches - scene.batches // 3) / kills  # the last ones are left to end the training
    ends = [scene.batches * epoch for epoch in range(1, scene.epochs)]
    drawn = []
    for part in range(kills):
        end = next((each for each in ends if part * share < each <= (part + 1) * share), 0)
        at_end = bool(end) and draw.random() < 0.7
        drawn.append((end if at_end else int(draw.uniform(part, part + 1) * share), at_end))
    free = [number for number, (_, at_end) in enumerate(drawn) if not at_end]
    in_file, with_machine = draw.sample(free, min(inside, len(free))), draw.sample(range(kills), machine)
    return [
        Moment(batches, number in in_file, at_end, number in with_machine)
        for number, (batches, at_end) in enumerate(drawn)
    ]


@dataclass
class Killing:
    """The run, and its killer."""

    scene: Scene
    home: Path
    draw: random.Random
    kills: list[Kill] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy, argv = POLICY % (EVERY_S if self.scene.snapshots else 0), self.scene.argv()
        self.run = Supervised(self.home, argv, run="killed", policy=policy, cwd=self.scene.folder)
        self._begun_at = 0  # batches that the generation began with
        self._reached = 0  # batches that any generation held when it died

    def kill(self, moment: Moment) -> Kill:
        """Kill the present generation at that moment.

        It is further than where the last one died: a training that dies in the same way and comes no further is not
        started again.
        """
        number = len(self.kills) + 1
        pid = self.run.until_generation(number).pid
        seen = self._watch(number, max(self._reached + FURTHER, moment.batches), moment)
        died_s = self._strike(pid, machine=moment.machine)
        return self._counted(number, moment, died_s, seen, self._following(number))

    def finish(self) -> int:
        """Its exit code."""
        self.run.until("its end", self.scene.weights.exists, START_S)
        return self.run.wait()

    def _strike(self, pid: int, *, machine: bool) -> float:
        """When the training died. With the machine also supervisor and daemon, in any order, and the runtime folder."""
        pids = [pid, self.run.process.pid, Daemon(self.home).pid()] if machine else [pid]
        self.draw.shuffle(pids)
        died_s = 0.0
        for each in filter(None, pids):
            os.kill(each, signal.SIGKILL)
            died_s = time.time() if each == pid else died_s
        if machine:
            self.run.process.wait()
            eventually("the daemon's end", lambda: Daemon(self.home).pid() is None)
            shutil.rmtree(self.home / "run")
            self.run.resume()
        return died_s

    def _watch(self, number: int, until: int, moment: Moment) -> dict[str, tuple[float, float]]:
        """Return when the moment has come; the files that were being written at any time: since and until when."""
        seen: dict[str, tuple[float, float]] = {}
        late_s = self.draw.uniform(0.0, END_S if moment.at_end else LATE_S)
        into_s: dict[str, float] = {}  # of each file: how long after its beginning the moment is
        deadline_s, come_s, looked_s = time.monotonic() + START_S, 0.0, 0.0
        while (now_s := time.monotonic()) < deadline_s:
            writing = self._in_writing()
            for name in writing:
                seen[name] = seen.get(name, (time.time(),))[0], time.time()
                into_s.setdefault(name, self.draw.uniform(0.0, INSIDE_S / 4 ** len(into_s) if come_s else 0.0))
            if not come_s and now_s - looked_s > 20 * LOOK_S:
                looked_s, lived = now_s, self.scene.lived(number)
                may_go_on = number > 1 or seen.keys() - set(writing)  # there is a state to go on from
                come_s = now_s if lived and lived[-1] >= until and may_go_on else 0.0
            due = [name for name in writing if time.time() - seen[name][0] >= into_s[name]]
            if come_s and (due if moment.inside else now_s >= come_s + late_s):
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

    def _counted(
        self, number: int, moment: Moment, died_s: float, seen: dict[str, tuple[float, float]], plan: Plan
    ) -> Kill:
        scene, lines = self.scene, self.scene.lines(number)
        target, last = plan.target, self.scene.lived(number)[-1]
        assert target is not None, plan
        assert_whole(target)
        held = target.epoch * scene.batches + target.extra_batches
        assert held >= self._begun_at, f"generation {number + 1} begins before generation {number} did"
        spans, cut_off = self._spans(lines, held, died_s), self._cut_off(number)
        cut = [since for name, (since, until) in seen.items() if name in cut_off or until > died_s - REPORTED_S]
        taken_s = max(line.at_s for line in lines if line.at_s <= min(cut, default=died_s))
        kill = Kill(
            generation=number,
            moment=moment,
            place=lines[-1].place,
            epoch=lines[-1].held // scene.batches + scene.trains(lines[-1]),
            inside=bool(cut_off),
            snapshot=plan.snapshot is not None,
            lost=last - held,
            lost_s=sum(spans),
            slowest_s=max(spans, default=0.0),
            taking_s=died_s - taken_s,
            longest_s=max((until - since for since, until in seen.values()), default=0.0),
        )
        self.kills.append(kill)
        self._begun_at, self._reached = held, max(self._reached, last)
        following = eventually("its first batch", lambda: self._alive() and scene.lived(number + 1), START_S)
        assert following[0] == held + 1, "it does not go on where its state was taken"
        return kill

    def _spans(self, lines: list[Line], held: int, died_s: float) -> list[float]:
        """How long each batch took that is lost, also the one that was cut off."""
        taken = next((n for n, line in enumerate(lines) if line.place == BATCH and line.held == held), 0)
        since = lines[taken:]
        until = [*(line.at_s for line in since[1:]), died_s]
        return [after - line.at_s for line, after in zip(since, until, strict=True) if self.scene.trains(line)]

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
