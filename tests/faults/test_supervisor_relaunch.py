"""Plan and receipt decide what follows a generation: real supervisors, real processes, real files."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.supervisor import (
    environment_of,
    eventually,
    folder_of,
    no_process_left,
    obey,
    plan_for,
    processes_of,
    supervisor,
)
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.plan import Checkpoint
from trainer_hooks.wire.runfolder import RunFolder

# Generation 1 does what the test asks for; every later one tells what it was started with, and finishes.
TRAINING = """
import json, os, pathlib, sys, time
folder = pathlib.Path(os.environ["TRAINWARDEN_RUN_FOLDER"])
generation = int(os.environ["TRAINWARDEN_GENERATION"])
if generation > 1:
    if mode == "starts in vain":
        sys.exit(1)
    plan = json.loads(pathlib.Path(os.environ["TRAINWARDEN_PLAN"]).read_text())
    print("generation", generation, "from", plan["id"], flush=True)
    sys.exit(0)
assert "TRAINWARDEN_PLAN" not in os.environ
(folder / "begun").touch()
while not (folder / "leave").exists():
    time.sleep(0.02)
sys.exit(int((folder / "leave").read_text()))
"""


class Relaunched:
    """A run "r" with a checkpoint in its vault."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.home = tmp_path / "home"
        self.folder: RunFolder = folder_of(self.home, "r")
        self.save_dir = tmp_path / "runs" / "train"
        (self.save_dir / "weights").mkdir(parents=True)
        (self.save_dir / "weights" / "last.pt").write_bytes(b"epoch 4, suspect")
        (self.save_dir / "results.csv").write_text("epoch,loss\n1,3\n2,2\n3,1\n4,nan\n")
        chosen = tmp_path / "chosen.pt"
        chosen.write_bytes(b"epoch 3, clean")
        self.checkpoint = Checkpoint(path=str(chosen), digest=hashlib.sha256(b"epoch 3, clean").hexdigest(), epoch=3)
        self.process: subprocess.Popen[str] | None = None

    def start(self, text: str = TRAINING, mode: str = "", **options: Any) -> subprocess.Popen[str]:
        (self.tmp / "train.py").write_text(f"mode = {mode!r}\n{text}")
        self.process = supervisor(self.home, self.tmp, [sys.executable, "train.py"], run="r", **options)
        if not options.get("adopt"):
            eventually("the first generation", (self.folder.root / "begun").exists)
        return self.process

    def adopt(self) -> subprocess.Popen[str]:
        return supervisor(self.home, self.tmp, [], env=environment_of(self.home), run="r", adopt=True)

    def plan(self, **changes: object) -> None:
        write(self.folder.plan(2), plan_for(2, self.save_dir, self.checkpoint, **changes))

    def leave(self, code: int) -> None:
        (self.folder.root / "leave").write_text(str(code))

    def over(self, process: subprocess.Popen[str] | None = None) -> tuple[int, str]:
        process = process or self.process
        assert process is not None
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def ended(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder.root / "ended.json").read_text())
        return found

    @property
    def last_pt(self) -> bytes:
        return (self.save_dir / "weights" / "last.pt").read_bytes()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Relaunched]:
    with no_process_left(folder_of(tmp_path / "home", "r")):
        yield Relaunched(tmp_path)


@pytest.mark.parametrize("code", [75, 1, 0])
def test_a_plan_whose_order_was_obeyed_is_carried_out_whatever_the_exit_code(world: Relaunched, code: int) -> None:
    """A torchrun turns 75 into 1; a script that catches SystemExit turns it into 0."""
    world.start()
    world.plan()
    obey(world.folder, "order-2", 1)
    world.leave(code)
    returned, output = world.over()
    assert returned == 0, output
    assert "generation 2 from plan-2" in output
    assert world.last_pt == b"epoch 3, clean"
    assert (world.save_dir / "results.csv").read_text() == "epoch,loss\n1,3\n2,2\n3,1\n"
    assert world.ended()["how"] == "finished"


def test_a_training_that_does_not_leave_in_time_is_made_to_and_the_receipt_says_so(world: Relaunched) -> None:
    world.start()
    world.plan(grace_s=0.5)
    returned, output = world.over()
    assert returned == 0, output
    assert "generation 2 from plan-2" in output
    assert json.loads(world.folder.receipt("order-2").read_text())["outcome"] == "killed"
    assert json.loads(world.folder.exit(1).read_text())["escalation"] == "SIGTERM"


def test_a_crash_after_the_plan_is_written_is_followed_by_the_plan(world: Relaunched) -> None:
    world.start()
    world.plan()
    world.leave(1)
    returned, output = world.over()
    assert returned == 0, output
    assert "generation 2 from plan-2" in output
    assert json.loads(world.folder.receipt("order-2").read_text())["outcome"] == "exited"


def test_a_training_that_finishes_before_it_saw_the_order_has_finished(world: Relaunched) -> None:
    world.start()
    world.plan()
    world.leave(0)
    returned, output = world.over()
    assert returned == 0
    assert "plan plan-2 is void" in output
    assert not world.folder.generation(2).exists()
    assert not world.folder.plan(2).exists()
    assert world.last_pt == b"epoch 4, suspect"


def test_a_refused_order_lets_the_training_go_on_past_its_deadline(world: Relaunched) -> None:
    world.start()
    obey(world.folder, "order-2", 1, outcome="refused")
    world.plan(grace_s=0.2)
    process = world.process
    assert process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    world.leave(0)
    returned, output = world.over()
    assert returned == 0
    assert "Training continues" in output
    assert not world.folder.generation(2).exists()


def test_a_stop_order_without_a_plan_ends_the_run(world: Relaunched) -> None:
    world.start()
    obey(world.folder, "order-stop", 1)
    world.leave(75)
    returned, _ = world.over()
    assert returned == 75
    assert world.ended()["how"] == "stopped"


def test_a_request_to_end_overrules_a_plan(world: Relaunched) -> None:
    process = world.start()
    world.plan()
    process.send_signal(signal.SIGTERM)
    returned, _ = world.over()
    assert returned == 128 + signal.SIGTERM
    assert world.ended()["how"] == "stopped"
    assert not world.folder.generation(2).exists()


def test_a_checkpoint_with_other_bytes_holds_the_run_and_moves_nothing(world: Relaunched) -> None:
    world.start()
    Path(world.checkpoint.path).write_bytes(b"epoch 3, dirty")
    before = sorted(str(path) for path in world.save_dir.rglob("*"))
    world.plan()
    obey(world.folder, "order-2", 1)
    world.leave(75)
    returned, output = world.over()
    assert returned == 75
    assert "its bytes are not those the plan chose" in output
    assert world.ended()["how"] == "held"
    assert sorted(str(path) for path in world.save_dir.rglob("*")) == before
    assert world.last_pt == b"epoch 4, suspect"
    assert not world.folder.generation(2).exists()


def test_a_plan_that_cannot_be_read_holds_the_run_without_stopping_the_training(world: Relaunched) -> None:
    world.start()
    world.folder.plan(2).write_text('{"id": "torn')
    process = world.process
    assert process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    world.leave(75)
    returned, output = world.over()
    assert returned == 75
    assert "plan-2.json: is no Plan" in output
    assert world.ended()["how"] == "held"


def test_a_generation_that_would_not_start_from_its_plan_holds_the_run(world: Relaunched) -> None:
    world.start(TRAINING.replace("sys.exit(1)", "sys.exit(75)"), mode="starts in vain")
    world.plan()
    obey(world.folder, "order-2", 1)
    world.leave(75)
    returned, _ = world.over()
    assert returned == 75
    assert world.ended()["how"] == "held"


def test_three_generations_that_get_nowhere_hold_the_run(world: Relaunched) -> None:
    for number in (2, 3, 4, 5, 6):
        plan = plan_for(number, world.save_dir, world.checkpoint)
        world.folder.root.mkdir(parents=True, exist_ok=True)
        write(world.folder.plan(number), plan)
    world.start(mode="starts in vain")
    obey(world.folder, "order-2", 1)
    world.leave(75)
    returned, output = world.over()
    assert returned == 75
    assert "3 generations in a row" in output
    assert world.folder.last_generation() == 4


def kill(process: subprocess.Popen[str]) -> None:
    """With the one signal that nobody can handle."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


WORKERS = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(os.environ["TRAINWARDEN_RUN_FOLDER"])
stubborn = ("import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "open(sys.argv[1], 'a').write('%d\\\\n' % os.getpid()); time.sleep(600)")
if os.environ["TRAINWARDEN_GENERATION"] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(4):
        subprocess.Popen([sys.executable, "-c", stubborn, folder / "workers"], start_new_session=True)
    while not (folder / "workers").exists() or (folder / "workers").read_text().count("\\n") < 4:
        time.sleep(0.02)
    (folder / "begun").touch()
    time.sleep(600)
def lives(pid):
    stat = pathlib.Path("/proc", pid, "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"  # init may reap late
alive = [pid for pid in (folder / "workers").read_text().split() if lives(pid)]
print("workers still there:", alive, flush=True)
"""


def test_workers_in_sessions_of_their_own_that_ignore_sigterm_are_gone_before_the_next_generation(
    world: Relaunched,
) -> None:
    """As torchrun's ranks are, and as a rank that hangs in a collective does."""
    world.start(WORKERS)
    world.plan(grace_s=0.3)
    returned, output = world.over()
    assert returned == 0, output
    assert "workers still there: []" in output
    assert json.loads(world.folder.exit(1).read_text())["escalation"] == "SIGKILL"


def test_workers_that_outlive_their_trainer_are_gone_before_the_next_generation(world: Relaunched) -> None:
    world.start(
        WORKERS.replace("    time.sleep(600)", "    [time.sleep(0.02) for _ in iter((folder / 'leave').exists, True)]")
    )
    world.plan()
    obey(world.folder, "order-2", 1)
    world.leave(75)
    returned, output = world.over()
    assert returned == 0, output
    assert "workers still there: []" in output


def test_workers_that_a_finished_training_leaves_behind_are_left_alone(world: Relaunched) -> None:
    """Without us nobody would end them: a user's TensorBoard may be meant to stay."""
    world.start(
        WORKERS.replace(
            "    time.sleep(600)", "    [time.sleep(0.02) for _ in iter((folder / 'leave').exists, True)]; sys.exit(0)"
        )
    )
    world.leave(0)
    process = world.process
    assert process is not None
    assert process.wait(60) == 0
    assert len(processes_of(world.folder)) == 4
    assert process.stdout is not None
    process.stdout.close()


def test_the_training_survives_its_supervisor_and_another_supervisor_takes_over(world: Relaunched) -> None:
    kill(world.start())
    assert len(processes_of(world.folder)) == 1
    adopter = world.adopt()
    assert adopter.stdout is not None
    assert any("Took over generation 1" in line for line in adopter.stdout)
    world.leave(0)
    assert world.over(adopter)[0] == 0
    assert json.loads(world.folder.exit(1).read_text())["code"] is None
    assert world.ended()["how"] == "finished"


def test_the_one_who_takes_over_carries_out_a_plan_that_comes_later(world: Relaunched) -> None:
    kill(world.start())
    adopter = world.adopt()
    world.plan()
    obey(world.folder, "order-2", 1)
    world.leave(75)
    returned, output = world.over(adopter)
    assert returned == 0, output
    assert "generation 2 from plan-2" in output


def test_a_plan_that_waits_for_a_supervisor_is_carried_out_by_the_one_who_takes_over(world: Relaunched) -> None:
    process = world.start()
    world.plan()
    obey(world.folder, "order-2", 1)
    kill(process)
    world.leave(75)
    eventually("the end of the training", lambda: not processes_of(world.folder))
    returned, output = world.over(world.adopt())
    assert returned == 0, output
    assert "generation 2 from plan-2" in output
    assert world.last_pt == b"epoch 3, clean"


def test_a_stubborn_training_that_was_taken_over_is_gone_before_the_next_generation(world: Relaunched) -> None:
    kill(world.start(WORKERS))
    adopter = world.adopt()
    world.plan(grace_s=0.3)
    returned, output = world.over(adopter)
    assert returned == 0, output
    assert "workers still there: []" in output


def test_a_run_that_ended_goes_on_under_the_next_number_when_adopted(world: Relaunched) -> None:
    world.start(TRAINING.replace("    plan = ", "    print('again', generation); sys.exit(0)\n    plan = "))
    world.leave(3)
    assert world.over()[0] == 3
    returned, output = world.over(world.adopt())
    assert returned == 0, output
    assert "again 2" in output
