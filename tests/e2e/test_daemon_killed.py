"""The daemon is killed with SIGKILL at ten points of an incident: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.harness.night_run import Daemon, NightRun
from tests.harness.shim import eventually
from trainer_hooks.wire.runfolder import Plan, read

POINTS = [
    "not finite",
    "incident 1 opened",
    "rolling back to epoch",
    "file plan-2.json",
    "file applied-*.json",
    "file exit-1.json",
    "file generation-2.json",
    "rolled back: generation 2",
    "watching:",
    "incident 1 resolved",
]


class Post:
    """What the webhook's receiver got, by message id."""

    def __init__(self, server: HTTPServer) -> None:
        self.bodies: list[dict[str, object]] = []
        self.ids: list[str] = []
        server.expect_request("/hook").respond_with_handler(self._take)
        self.url = server.url_for("/hook")

    def _take(self, request: Request) -> Response:
        self.ids.append(request.headers["webhook-id"])
        self.bodies.append(json.loads(request.data))
        return Response("", 204)


def reached(run: NightRun, point: str) -> bool:
    """Whether the run has come to a point of its incident."""
    if point.startswith("file "):
        return any(run.folder.root.glob(point.removeprefix("file ")))
    return run.says(point)


def check(run: NightRun, post: Post) -> None:
    """One rollback to epoch 3, one relaunch, every alert delivered, the training finished."""
    assert run.wait() == 0, run.log.read_text()
    assert sorted(p.name for p in run.folder.root.glob("plan-*.json")) == ["plan-2.json"]
    assert run.folder.last_generation() == 2
    plan = read(run.folder.plan(2), Plan)
    assert plan.checkpoint is not None
    assert plan.checkpoint.epoch == 3
    rows = (run.save_dir / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3", "4", "5", "6"]
    eventually("the alerts", lambda: len(set(post.ids)) >= 3)
    assert {i.rsplit("/", 2)[1] for i in post.ids} == {"incident_opened", "rolled_back", "resolved"}


@pytest.mark.parametrize("point", POINTS)
def test_a_daemon_killed_at_any_point_of_an_incident_loses_and_repeats_nothing(
    point: str, home: Path, checkpoints: Path, httpserver: HTTPServer
) -> None:
    post = Post(httpserver)
    run = NightRun(home, checkpoints, post.url)
    daemon = Daemon(home)
    eventually(point, lambda: reached(run, point) or run.process.poll() is not None)
    assert daemon.kill() is not None, "the fault did not fire"
    check(run, post)


def test_a_daemon_that_is_dead_while_the_training_is_relaunched_changes_nothing(
    home: Path, checkpoints: Path, httpserver: HTTPServer
) -> None:
    """The plan is committed: the shim carries it out alone, and a daemon that comes later finds everything in the run folder."""
    post = Post(httpserver)
    run = NightRun(home, checkpoints, post.url)
    daemon = Daemon(home)
    eventually("the plan", lambda: run.folder.plan(2).exists())
    killed = 0
    while not run.folder.generation(2).exists():
        killed += daemon.kill() is not None
        assert run.process.poll() is None
    assert killed, "the fault did not fire"
    check(run, post)
