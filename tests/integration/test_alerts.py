"""Silences, acknowledgements, heartbeat and secrets, with a real daemon that is killed, and a real receiver.

One night is lived through once; each test looks at what was seen then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.cli import execute
from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.heartbeat import TIMEOUT_S
from tests.harness.posted_to import PostedTo
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import POLICY, FakeTrainer, announce

TOKENS = ("C4N4RY-in-the-file", "C4N4RY-in-the-variable", "C4N4RY-key-0123456789abcdef", "C4N4RY-of-the-heartbeat")
STARTED = GenerationStarted("night", 1, "n1", os.getpid(), os.getpid())


class House(PostedTo):
    """The receivers' end: keeps what is posted, by path. It refuses the first try of each message."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.tried: set[tuple[str, str]] = set()

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        key = (path, headers.get("webhook-id", ""))
        if body and key not in self.tried:
            self.tried.add(key)
            return 503
        self.posts.append((path, dict(headers), body))
        return 200

    def at(self, path: str) -> list[dict[str, Any]]:
        """The bodies that were taken at a path, in order."""
        return [msgspec.json.decode(body) if body else {} for where, _, body in self.posts if where == f"/{path}"]


@dataclass
class Night:
    """What was seen."""

    home: Path
    held: int = 0  # alerts that waited while the silence was in force, after a kill
    while_silent: list[dict[str, Any]] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)  # after a kill
    arrived: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    beats: int = 0
    acknowledged_by: str = ""  # after a kill
    listed: str = ""  # what the command line lists
    outputs: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Three bad batches in a silence, a kill, the end of the silence, an acknowledgement, another kill."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, House() as house:
        patch.setenv("TRAINWARDEN_HOME", str(home))
        patch.setenv("PHONE_URL", f"{house.url}/{TOKENS[1]}")
        patch.setenv("BEAT_URL", f"{house.url}/{TOKENS[3]}")
        policy = policy_of(tmp_path_factory.mktemp("secrets"), house.url)
        announce(home, "night", policy)
        with DaemonProcess(home) as daemon, FakeTrainer(home, "night", pid=os.getpid()) as trainer:
            trainer.allocate(os.getpid(), os.getpid())
            daemon.send(RunAnnounced("night"))
            daemon.send(STARTED)
            trainer.start()
            trainer.until_seen()
            yield lived(Night(home), house, daemon, trainer)


def policy_of(folder: Path, url: str) -> str:
    """Two receivers and a heartbeat whose addresses and keys are in a file or in a variable."""
    (folder / "ops.url").write_text(f"{url}/{TOKENS[0]}\n")
    (folder / "ops.key").write_text(f"{TOKENS[2]}\n")
    return (
        f"{POLICY}heartbeat: {{url_env: BEAT_URL, every_s: 1}}\n"
        f"receivers:\n- {{name: ops, kind: webhook, url_file: {folder}/ops.url, secrets_file: {folder}/ops.key}}\n"
        "- {name: phone, kind: webhook, url_env: PHONE_URL, severity: critical}\n"
    )


def lived(night: Night, house: House, daemon: DaemonProcess, trainer: FakeTrainer) -> Night:
    silence = daemon.request("POST", "/api/v1/silences", {"match": ["run=ni*", "family=nonfinite"], "for_s": 3600})
    trainer.batches(20, nonfinite=3)
    until("an incident opened", lambda: daemon.json("/api/v1/runs/night/incidents"))
    until("its alerts wait", lambda: pending(daemon) >= 2)
    daemon.kill()
    daemon.start()
    night.held, night.while_silent = pending(daemon), house.at(TOKENS[0])
    night.silences = daemon.json("/api/v1/silences")
    assert execute(["silence", "expire", silence.json()["id"]]) == 0
    until("the alerts arrive", lambda: house.at(TOKENS[0]) and house.at(TOKENS[1]))
    [incident] = daemon.json("/api/v1/runs/night/incidents")
    assert execute(["ack", "night"]) == 0
    assert execute(["ack", incident["id"]]) == 0  # again: nothing changes
    daemon.kill()
    daemon.start()
    night.acknowledged_by = daemon.json("/api/v1/runs/night/incidents")[0]["acknowledged_by"]
    trainer.batches(1)
    until("a heartbeat arrives", lambda: house.at(TOKENS[3]), TIMEOUT_S)
    night.beats = len(house.at(TOKENS[3]))
    night.arrived = {token: house.at(token) for token in TOKENS[:2]}
    night.outputs = outputs(daemon, night.home)
    return night


def pending(daemon: DaemonProcess) -> int:
    return int(daemon.metric('trainwarden_alerts_pending{run="night"}') or 0)


def outputs(daemon: DaemonProcess, home: Path) -> dict[str, bytes]:
    """Everything that leaves the daemon's memory: files, answers, the command line."""
    assert daemon.process is not None
    found = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    found["argv"] = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
    run = "/api/v1/runs/night"
    paths = ("/metrics", "/api/v1/runs", run, f"{run}/incidents", f"{run}/timeline", f"{run}/report", f"{run}/state")
    return found | {path: daemon.get(path).content for path in (*paths, "/api/v1/silences")}


def test_a_silence_outlives_a_kill_and_holds_what_it_covers(night: Night) -> None:
    assert night.held >= 2
    assert night.while_silent == []
    assert [(one["match"], one["active"]) for one in night.silences] == [(["run=ni*", "family=nonfinite"], True)]


def test_what_waited_for_the_end_of_a_silence_arrives_once_and_in_one_thread(night: Night) -> None:
    for posts in night.arrived.values():
        ids = [post["data"]["id"] for post in posts]
        assert len(ids) == len(set(ids))
        assert posts[0]["type"] == "incident_opened"
        assert {post["data"]["labels"]["incident"] for post in posts} == {"night-i1"}


def test_a_receiver_gets_what_is_as_severe_as_its_line_says(night: Night) -> None:
    assert {post["data"]["severity"] for post in night.arrived[TOKENS[1]]} == {"critical"}


def test_an_acknowledgement_outlives_a_kill_and_names_who_gave_it(night: Night) -> None:
    assert night.acknowledged_by


def test_the_heartbeat_is_called_while_the_training_progresses(night: Night) -> None:
    assert night.beats >= 1


@pytest.mark.parametrize("token", TOKENS)
def test_no_secret_is_in_any_output(night: Night, token: str) -> None:
    """Database, log, run folder, answers of the API, metrics, command line."""
    assert len(night.outputs) > 10
    assert any(b"alert night-i1/incident_opened" in data for data in night.outputs.values()), "the log has the retry"
    assert [name for name, data in night.outputs.items() if token.encode() in data] == []
