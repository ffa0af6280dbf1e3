"""The report of a run from a real daemon, after it was killed, and when it is long forgotten."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import msgspec
import pytest

from monitor.cli import execute
from monitor.core.model import GenerationStarted, RunEnded
from monitor.core.model.channel import RunAnnounced
from monitor.core.model.curves import Curves
from monitor.core.state.run import RunState
from monitor.daemon.api.token import TOKEN_NAME
from tests.harness.pages import assert_inert
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import FakeTrainer, announce
from trainer_hooks.wire.run_documents import RunOutcome
from trainer_hooks.wire.runfolder import RunFolder


@pytest.fixture
def streamed(daemon: DaemonProcess, monkeypatch: pytest.MonkeyPatch) -> DaemonProcess:
    """A daemon that was sent 124 batches, the last four of them NaN."""
    monkeypatch.setenv("TRAINWARDEN_HOME", str(daemon.home))
    announce(daemon.home, "night")
    daemon.send(RunAnnounced("night"))
    with FakeTrainer(daemon.home, "night", 1, "n1", os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
        trainer.start()
        trainer.until_seen()
        trainer.batches(120)
        trainer.batches(4, nonfinite=4)
        until("all arrived", lambda: daemon.json("/api/v1/runs/night")["summary"]["batches"] == 124)
        until("they are on disk", lambda: len(_curves(daemon).signals.get("nonfinite", [])) == 124)
    return daemon


def _curves(daemon: DaemonProcess) -> Curves:
    return msgspec.json.decode(daemon.get("/api/v1/runs/night/curves").content, type=Curves)


def _reported(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert execute(["report", "night", *arguments]) == 0
    return re.sub(r"as of [0-9: -]+ UTC", "as of now", capsys.readouterr().out)


def test_a_live_run_is_reported_with_its_findings_and_curves(
    streamed: DaemonProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    text = _reported(capsys)
    assert "**Training** · run night" in text
    assert "4 not finite" in text
    assert "lately: nonfinite" in text
    assert "## Incident 1 of test of night" in text
    page = assert_inert(_reported(capsys, "--html"))
    assert page.tags.count("svg") == 6 + 5
    assert "non-finite batch" in page.text
    assert streamed.process is not None
    assert streamed.process.poll() is None


def test_after_a_kill_the_same_report_comes_from_the_disk(
    streamed: DaemonProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    alive = _reported(capsys, "--html")
    streamed.kill()
    dead = _reported(capsys, "--html")
    assert _sections(dead) == _sections(alive)
    assert dead.count("<svg") == alive.count("<svg")


def _sections(page: str) -> list[str]:
    return re.findall(r"<h[123]>.*?</h[123]>", page)


def test_the_state_is_kept_in_the_folder_when_the_run_ends(
    streamed: DaemonProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    streamed.send(RunEnded("night", RunOutcome.STOPPED, "by hand"))
    kept = RunFolder(streamed.home / "runs" / "night").state
    until("the state is kept", kept.exists)
    run = msgspec.msgpack.decode(kept.read_bytes(), type=RunState)
    assert (run.ended, run.ended_detail, len(run.training.ledger.incidents)) == ("stopped", "by hand", 1)
    streamed.kill()
    _forget(streamed.home)
    text = _reported(capsys)
    assert "**Stopped**" in text
    assert "## Incident 1 of test of night" in text


def _forget(home: Path) -> None:
    """As after a day and a move to another disk: only the folder of the run is left."""
    for part in home.glob("history.sqlite3*"):
        part.unlink()


def test_the_state_is_for_its_user_alone_and_the_curves_refuse_what_is_no_number(streamed: DaemonProcess) -> None:
    assert streamed.get("/api/v1/runs/nobody/state").status_code == 404
    assert streamed.get("/api/v1/runs/night/curves?points=-1").status_code == 400
    assert streamed.request("POST", "/api/v1/runs/night/state", {}).status_code == 405
    port = streamed.json("/api/v1/health")["port"]
    key = {"authorization": f"Bearer {(streamed.home / 'run' / TOKEN_NAME).read_text().strip()}"}
    others = httpx.get(f"http://127.0.0.1:{port}/api/v1/runs/night/state", headers=key)
    assert others.status_code == 404, "it holds the command line"
    curves = f"http://127.0.0.1:{port}/api/v1/runs/night/curves?first=1e300"
    assert httpx.get(curves, headers=key).json()["signals"] == {}
    assert httpx.get(curves).status_code == 401, "other users reach the port"
    few = msgspec.json.decode(streamed.get("/api/v1/runs/night/curves?points=10").content, type=Curves)
    assert len(few.signals["loss"]) == 10
    window = streamed.get("/api/v1/runs/night/curves?generation=1&first=20&last=29")
    assert len(msgspec.json.decode(window.content, type=Curves).signals["loss"]) == 10


def test_status_tells_what_detectors_are_saying_and_metrics_count_it(
    streamed: DaemonProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["status", "night"]) == 0
    assert "critical: 3 non-finite batches among the last 100" in " ".join(capsys.readouterr().out.split())
    assert execute(["status"]) == 0
    assert "nonfinite_burst" in capsys.readouterr().out
    found = streamed.json("/api/v1/runs/night")["summary"]["findings"]
    assert found[0]["detector"].startswith("nonfinite")
    series = 'trainwarden_findings_total{{detector="{}",run="night",severity="{}"}}'
    assert streamed.metric(series.format("nonfinite_burst", "critical")) == 1
    assert streamed.metric(series.format("loss_spike", "warning")) == 0
