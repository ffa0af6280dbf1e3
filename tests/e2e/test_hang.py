"""Real trainings that come to a standstill under supervisor and daemon: found in time, and shown where they stand."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.core.model.channel import RunAnnounced
from tests.harness.night_run import ROOT, fresh_home
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.supervisor import environment_of, eventually, folder_of, supervisor
from tests.harness.trainer import announce
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.run_documents import Generation

FLOOR_S = 3.0
POLICY = f"version: 1\ndetectors: {{hang: {{floor_s: {FLOOR_S}}}}}\n"
STANDS = {
    "lock": "wait_for_a_lock_that_nobody_gives_back",
    "gil": "call_an_extension_that_never_returns",
    "loader": "read_a_sample_that_never_comes",  # which the worker does, not the process that waits for it
}


class Standing:
    """The supervisor of one training, and what it has said so far."""

    def __init__(self, home: Path, how: str, policy: str = POLICY) -> None:
        self.folder = folder_of(home, "still")
        argv = [sys.executable, "-m", "tests.harness.hanging", how]
        environment = environment_of(home, PYTHONPATH=str(ROOT))
        self.process = supervisor(
            home, ROOT, argv, environment, run="still", policy_text=policy, daemon_argv=[], port=0
        )
        self.said = ""

    def hear(self) -> str:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while select.select([descriptor], [], [], 0)[0] and (data := os.read(descriptor, 65536)):
            self.said += data.decode(errors="replace")
        return self.said

    def until(self, text: str, timeout_s: float = 60.0) -> float:
        """When it was said; fails with everything that was said instead."""
        try:
            eventually(f"{text!r} is said", lambda: text in self.hear(), timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.said}") from None
        return time.monotonic()

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


@pytest.mark.parametrize("how", ["lock", "gil", "loader"])
def test_a_standstill_is_found_in_time_and_its_function_is_named(home: Path, how: str) -> None:
    if how == "loader":
        pytest.importorskip("torch")
    standing = Standing(home, how)
    try:
        began_s = standing.until("standing still")
        found_s = standing.until("nothing for ")
        assert found_s - began_s < FLOOR_S + 5.0, "later than the rule, three ticks and a machine under load allow"
        standing.until("rank 0 stands in ")
        assert STANDS[how] in standing.said
        assert standing.process.poll() is None, "whoever looks must not end the training"
    finally:
        standing.end()


def test_every_rank_is_asked_and_the_one_that_stands_elsewhere_is_named(home: Path) -> None:
    standing = Standing(home, "ranks")
    try:
        standing.until(" stands in ")
        assert "rank 1 stands in" in standing.said
        assert "wait_for_a_lock_that_nobody_gives_back" in standing.said
        assert "wait_for_the_other_ranks" in standing.said
    finally:
        standing.end()


def test_where_a_hang_is_acted_on_two_looks_come_first_and_without_a_checkpoint_nothing_is_ended(home: Path) -> None:
    acting = "version: 1\ndetectors: {hang: {floor_s: 3, act_floor_s: 6, act_intervals: 5}}\nrollback: {grace_s: 2}\n"
    standing = Standing(home, "gil", acting)
    try:
        standing.until("no clean checkpoint to start again from")
        assert standing.said.index("stands in") < standing.said.index("no clean checkpoint to start again from")
        assert STANDS["gil"] in standing.said
        assert standing.process.poll() is None
        written = standing.folder.reports / "1.md"
        title = "## Where training stood still"
        eventually("the report", lambda: written.exists() and title in written.read_text())
        report = written.read_text()
        assert "read by faulthandler" in report or "read by py-spy" in report
    finally:
        standing.end()


def test_where_nobody_supervises_the_daemon_looks_itself(home: Path) -> None:
    folder = announce(home, "alone", POLICY, act=False)
    write(folder.generation(1), Generation(number=1, nonce="n1", allocated_by="hook"))
    more = {
        "TRAINWARDEN_RUN": "alone",
        "TRAINWARDEN_RUN_FOLDER": str(folder.root),
        "TRAINWARDEN_GENERATION": "1",
        "TRAINWARDEN_NONCE": "n1",
        "PYTHONPATH": str(ROOT),
    }
    with DaemonProcess(home) as daemon:
        daemon.send(RunAnnounced("alone"))
        argv = [sys.executable, "-m", "tests.harness.hanging", "gil"]
        with subprocess.Popen(argv, env=environment_of(home, **more), cwd=ROOT) as training:
            timeline = "/api/v1/runs/alone/timeline"
            until("it is said where it stands", lambda: "rank 0 stands in" in daemon.get(timeline).text, 60.0)
            assert STANDS["gil"] in daemon.get(timeline).text
            assert training.poll() is None
            training.kill()


def test_declared_pauses_that_are_longer_than_the_rule_are_no_standstill(home: Path) -> None:
    standing = Standing(home, "pauses")
    try:
        assert standing.process.wait(120) == 0
        assert "nothing for " not in standing.hear()
        assert "stands in" not in standing.said
    finally:
        standing.end()
