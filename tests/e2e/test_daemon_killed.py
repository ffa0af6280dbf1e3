"""The daemon is killed with SIGKILL at ten points of an incident: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.night_run import Daemon, NightRun, Scrapes, fresh_home
from tests.harness.webhook import Post

EPOCHS = 10  # so that a daemon that comes back late still finds the training
AT_ONCE = 3  # nights side by side: they mostly wait
POINTS = [
    "not finite",
    "incident 1 opened",
    "rolling back to the end of epoch",
    "file plan-2.json",
    "file applied-*.json",
    "file exit-1.json",
    "file generation-2.json",
    "rolled back: generation 2",
    "watching:",
    "incident 1 resolved",
]
WHILE_RELAUNCHING = "dead while the training is relaunched"
POISONED = "the newest checkpoint is poisoned"


@dataclass
class Night:
    """One whole night with a kill in it."""

    run: NightRun
    daemon: Daemon
    post: Post
    scrapes: Scrapes
    killed: list[int] = field(default_factory=list)

    def reached(self, point: str) -> bool:
        """Whether the run has come to a point of its incident."""
        self.scrapes.look()
        if point.startswith("file "):
            return any(self.run.folder.root.glob(point.removeprefix("file ")))
        return self.run.says(point)

    def kill(self) -> bool:
        """The daemon, where one is alive; nothing to wait for: False."""
        pid = self.daemon.kill()
        self.killed += [pid] if pid else []
        return False


def through(night: Night, point: str) -> Night:
    """Kill the daemon at the point; come back when the run is over and the people have heard."""
    if point == WHILE_RELAUNCHING:
        night.run.until("the receipt", lambda: night.reached("file applied-*.json"))
        night.run.until("the relaunch", lambda: night.kill() or night.reached("file generation-2.json"))
    else:
        place = "incident 1 opened" if point == POISONED else point
        night.run.until(place, lambda: night.reached(place))
        night.kill()
    night.run.wait(night.scrapes.look)
    return night


@pytest.fixture(scope="module")
def nights(request: pytest.FixtureRequest, checkpoints: Path) -> Iterator[Callable[[str], Night]]:
    """Every night that a selected test asks for, some of them side by side."""
    functions = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = [str(item.callspec.params["point"]) for item in functions if "nights" in item.fixturenames]
    with ExitStack() as stack:
        begun: dict[str, Future[Night]] = {}

        def spend(point: str) -> Night:
            home = homes[point]
            post = Post(servers[point])
            more = ["--epochs", str(EPOCHS), *(["--poisoned-epoch", "3"] if point == POISONED else [])]
            daemon = Daemon(home)
            run = NightRun(home, checkpoints, *more, hook_url=post.url)
            return through(Night(run, daemon, post, Scrapes(daemon)), point)

        homes = {point: stack.enter_context(fresh_home()) for point in wanted}
        servers = {point: stack.enter_context(HTTPServer(port=0)) for point in wanted}
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))  # left first: no night outlives its home
        begun.update({point: pool.submit(spend, point) for point in wanted})
        yield lambda point: begun[point].result()


@pytest.mark.parametrize("point", [*POINTS, WHILE_RELAUNCHING])
def test_a_daemon_killed_at_any_point_of_an_incident_loses_and_repeats_nothing(
    point: str, nights: Callable[[str], Night]
) -> None:
    """One rollback to epoch 3, one relaunch, each alert delivered under one id, every counter kept."""
    night = nights(point)
    run = night.run
    assert night.killed, "the fault did not fire"
    assert run.process.returncode == 0, run.shown
    assert run.plans() == ["plan-2.json"]
    assert run.folder.last_generation() == 2
    assert run.target_epoch() == 3
    assert run.rows() == [str(epoch) for epoch in range(1, EPOCHS + 1)]
    night.post.expect("incident_opened", "rolled_back", "resolved")
    assert all(body == bodies[0] for bodies in night.post.tries.values() for body in bodies), (
        "a try told another timeline"
    )
    assert all(len(bodies) >= 2 for bodies in night.post.tries.values()), "no try was refused"
    assert len(night.scrapes.daemons) >= 2, "nobody scraped both daemons"
    assert night.scrapes.steps_back() == []


@pytest.mark.parametrize("point", [POISONED])
def test_with_a_poisoned_newest_checkpoint_the_run_goes_back_past_it(
    point: str, nights: Callable[[str], Night]
) -> None:
    night = nights(point)
    assert night.killed, "the fault did not fire"
    assert night.run.process.returncode == 0, night.run.shown
    assert night.run.says("checkpoint of epoch 3: poisoned")
    assert (night.run.plans(), night.run.target_epoch()) == (["plan-2.json"], 2)
    assert night.run.rows() == [str(epoch) for epoch in range(1, EPOCHS + 1)]
    night.post.expect("watch", "incident_opened", "rolled_back", "resolved")


def test_a_training_that_dies_together_with_the_daemon_goes_on_from_its_checkpoint(
    home: Path, checkpoints: Path
) -> None:
    """As where the machine's memory ran out: another daemon is started, and makes the plan."""
    run = NightRun(home, checkpoints, "--bad", "", "--epochs", "3")
    generation = run.until_generation(1)
    run.until_says("checkpoint of epoch 1: sound")
    assert Daemon(home).kill() is not None, "the fault did not fire"
    os.kill(generation.pid, signal.SIGKILL)
    assert run.wait() == 0, run.shown
    assert run.plans() == ["plan-2.json"]
    assert run.rows() == ["1", "2", "3"]
