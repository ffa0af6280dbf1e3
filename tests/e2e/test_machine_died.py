"""A power cut, simulated: everything is killed and the runtime folder is gone. What the next daemon says of it.

The kernel is still the same, so the test writes into the run folder that the generation began in an earlier start of
the machine; without that, the daemon knows no more than that every process is gone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import msgspec

from tests.harness.night_run import Daemon, NightRun, trainwarden
from tests.harness.real_daemon import DaemonProcess
from tests.harness.real_daemon import until as until_now
from tests.harness.webhook import Post
from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.run_documents import Generation

LONG = ("--bad", "", "--epochs", "9", "--batches", "40")
DIED = "The machine was started again, so the training died in epoch "


def power_cut(run: NightRun, *, of_the_machine: bool) -> None:
    """In epoch 2, after the checkpoint of epoch 1."""
    run.until_says("checkpoint of epoch 1: sound")
    generation, daemon = run.until_generation(1), Daemon(run.home)
    run.process.send_signal(signal.SIGSTOP)  # it starts no other daemon meanwhile
    assert daemon.kill(), "the fault did not fire"
    os.kill(generation.pid, signal.SIGKILL)
    run.kill_supervisor()
    shutil.rmtree(run.home / "run")
    if of_the_machine:  # another process has the number of each one that died
        path = run.folder.generation(1)
        mine = msgspec.structs.replace(read(path, Generation), boot_id="an earlier one", pid=os.getpid())
        write(path, msgspec.structs.replace(mine, supervisor_pid=os.getppid()))


def timeline(daemon: DaemonProcess, run: NightRun) -> str:
    return daemon.get(f"/api/v1/runs/{run.run}/timeline?wait_s=0").text


def test_a_run_that_died_with_the_machine_is_told_once_with_the_way_to_go_on(
    home: Path, checkpoints: Path, post: Post
) -> None:
    run = NightRun(home, checkpoints, *LONG, hook_url=post.url)
    power_cut(run, of_the_machine=True)
    with DaemonProcess(home) as daemon:
        until_now("it is told", lambda: DIED in timeline(daemon, run), 30.0)
        until_now("the alert", lambda: "run_failed" in post.kinds())
        way = "Go on from the end of epoch 1 with: trainwarden resume night"
        until_now("the way to go on", lambda: way in timeline(daemon, run))
        assert daemon.metric('trainwarden_machine_deaths_total{run="night"}') == 1
        status = json.loads(trainwarden(home, "status", run.run, "--json").stdout)
        shown = dict(tuple(line) for line in status["in_short"])
        assert shown["Now"] == "The training died with the machine, which was started again."
        assert shown["What to do"] == "Go on from the newest clean state: trainwarden resume night"
    with DaemonProcess(home) as daemon:
        daemon.get("/api/v1/overview")
        assert timeline(daemon, run).count(DIED) == 1
        assert "Training continues" not in timeline(daemon, run)
        assert daemon.metric('trainwarden_machine_deaths_total{run="night"}') == 1
    assert post.kinds().count("run_failed") == 1


def test_where_only_the_processes_are_gone_the_machine_is_not_blamed(home: Path, checkpoints: Path, post: Post) -> None:
    run = NightRun(home, checkpoints, *LONG, hook_url=post.url)
    power_cut(run, of_the_machine=False)
    with DaemonProcess(home) as daemon:
        until_now("it is told", lambda: "is not started again" in timeline(daemon, run), 30.0)
        until_now("the alert", lambda: "run_failed" in post.kinds())
        assert DIED not in timeline(daemon, run)
        assert "Training continues" not in timeline(daemon, run), "nothing trains any more"
        assert daemon.metric('trainwarden_machine_deaths_total{run="night"}') == 0
