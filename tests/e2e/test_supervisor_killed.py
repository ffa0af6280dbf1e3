"""`trainwarden run` itself is killed: the training goes on, only watched, until another one takes over."""

from __future__ import annotations

import os
from pathlib import Path

from tests.harness.night_run import Daemon, NightRun, trainwarden
from tests.harness.supervisor import eventually
from tests.harness.webhook import Post


def orphaned(run: NightRun) -> int:
    """The pid of the training, once its supervisor was killed under it and the daemon has noticed."""
    generation = run.until_generation(1)
    run.until_says("training 1 started")
    killed = run.kill_supervisor()
    assert killed == generation.supervisor_pid, "the fault did not fire"
    eventually("the loss of the supervisor in the status", lambda: "its supervisor has died" in status(run))
    os.kill(generation.pid, 0)
    return generation.pid


def status(run: NightRun) -> str:
    return trainwarden(run.home, "status", run.run).stdout


def test_a_training_whose_supervisor_was_killed_is_only_watched_until_another_one_takes_over(
    home: Path, checkpoints: Path, post: Post
) -> None:
    run = NightRun(home, checkpoints, "--from-epoch", "3", "--epochs", "9", hook_url=post.url)
    pid = orphaned(run)
    eventually("the alert", lambda: "supervisor_lost" in post.kinds())
    eventually("the incident", lambda: "incident_opened" in post.kinds())
    assert "watching" in status(run), "the burst is told"
    assert (run.plans(), list(run.folder.root.glob("applied-*"))) == ([], []), "nobody is there who could carry it out"
    os.kill(pid, 0)

    run.adopt()
    run.until_says(f"Took over generation 1, pid {pid}")
    run.until_generation(2)
    assert run.wait() == 0, run.shown
    assert run.says("the run has a supervisor again")
    assert run.plans() == ["plan-2.json"], run.shown
    assert run.target_epoch() in (2, 3), run.shown  # 3: nobody acted, epoch 3 ended healthy, and the burst came again
    assert run.rows() == [str(epoch) for epoch in range(1, 10)]
    post.expect("supervisor_lost", "incident_opened", "rolled_back", "resolved")


def test_a_run_that_was_taken_over_can_be_stopped(home: Path, checkpoints: Path) -> None:
    run = NightRun(home, checkpoints, "--bad", "", "--epochs", "12", "--faulty-batch-s", "0.05")
    orphaned(run)
    refused = trainwarden(home, "rollback", run.run)
    assert refused.returncode == 2
    assert "trainwarden run --adopt night" in refused.stderr
    run.adopt()
    run.until_says("the run has a supervisor again")
    assert trainwarden(home, "stop", run.run).returncode == 0
    run.wait()
    assert run.says("run stopped")
    assert "stopped" in status(run)
    assert run.folder.last_generation() == 1


def test_a_run_that_ends_while_its_daemon_is_dead_has_not_lost_its_supervisor(
    home: Path, checkpoints: Path, post: Post
) -> None:
    """The next daemon finds in the run folder that it is over, and how."""
    run = NightRun(home, checkpoints, "--bad", "", "--epochs", "1", hook_url=post.url)
    daemon = Daemon(home)
    run.until_says("training 1 started")
    killed = set()
    assert run.wait(lambda: killed.add(daemon.kill())) == 0
    assert killed - {None}, "the fault did not fire"
    other = NightRun(home, checkpoints, "--bad", "", "--epochs", "1", run="other")
    assert other.wait() == 0
    assert "finished: exit code 0" in status(run)
    assert post.kinds() == []
