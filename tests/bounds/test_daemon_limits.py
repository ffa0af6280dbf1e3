"""The limits of what the daemon takes from the hardware and answers, and of those who ask it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pynvml
import pytest

from monitor.client import http
from monitor.core.state.run import Fleet
from monitor.daemon.api import routes
from monitor.daemon.api.endpoint import application
from monitor.daemon.api.routes import WAIT_MAX_S, Api
from monitor.daemon.hardware import amd
from monitor.daemon.hardware.nvml import EVENTS_MAX, _Events
from monitor.daemon.hardware.poll import LAST, SENTENCES_MAX, Hardware
from monitor.daemon.hardware.probe import LINE_BYTES_MAX, GpuProbe, PollIntervals, ProbeFailed
from monitor.daemon.hardware.reading import Device, Vendor
from monitor.daemon.missed_runs import MISSED_RUNS_MAX, MISSED_S, missed_runs
from monitor.demo.receiver import BODY_BYTES_MAX, AlertReceiver
from monitor.history.recall import FILE_NAME, open_history
from tests.bounds.test_core_bounds import driven
from tests.harness.amd import AmdCard
from tests.harness.clock import FakeClock
from tests.harness.daemon import PlainDaemon
from tests.harness.supervisor import eventually
from trainer_hooks.wire.last_counts import last_counts_path
from trainer_hooks.wire.runfolder import ENV_HOME, run_folder


def test_of_more_different_sentences_than_the_limit_one_says_that_they_are_not_shown() -> None:
    told: list[str] = []
    hardware = Hardware(Fleet, lambda _run, _severity, text: told.append(text), lambda _: None)
    for number in range(SENTENCES_MAX + 2):
        hardware._notify_once(str(number))
        hardware._notify_once(str(number))
    assert told == [*(str(number) for number in range(SENTENCES_MAX)), LAST]


def test_of_more_runs_than_the_limit_that_nobody_saw_the_newest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_HOME, str(tmp_path))
    now_s = 1_000_000_000.0
    ages_s = {f"run-{age}": float(age) for age in range(MISSED_RUNS_MAX + 2)}
    ages_s |= {"at-limit": MISSED_S - 1.0, "too-old": MISSED_S, "known": 0.0, "supervised": 0.0}
    for name, age_s in ages_s.items():
        folder = run_folder(name)
        folder.root.mkdir(parents=True)
        folder.allocate_generation("supervisor" if name == "supervised" else "hook", "nonce")
        last = last_counts_path(folder, 1, 1)
        last.write_bytes(b"{}")
        os.utime(last, (now_s - age_s, now_s - age_s))
    found = [opened.spec.run for opened in missed_runs({"known"}, now_s)]
    assert found == [f"run-{age}" for age in range(MISSED_RUNS_MAX)]
    many = [f"run-{age}" for age in range(MISSED_RUNS_MAX + 2)]
    assert [opened.spec.run for opened in missed_runs({"known", *many}, now_s)] == ["at-limit"]


@pytest.mark.parametrize("beyond", [0, 1])
def test_of_a_file_of_a_card_no_more_is_read_than_the_kernel_writes(beyond: int, tmp_path: Path) -> None:
    card = AmdCard(tmp_path / "drm")
    card.write("product_name", "x" * (amd.FILE_CHARS_MAX - 1 + beyond))
    (device,) = next(amd.lines(0.0, tmp_path / "drm")).devices
    assert len(device.name) == amd.FILE_CHARS_MAX - 1 + beyond, "the file ends with a line end"
    card.write("product_name", "x" * 10 * amd.FILE_CHARS_MAX)
    (device,) = next(amd.lines(0.0, tmp_path / "drm")).devices
    assert len(device.name) == amd.FILE_CHARS_MAX


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_line_of_the_probe_is_read_up_to_a_limit(beyond: int) -> None:
    probe = GpuProbe(PollIntervals(), Vendor.NVIDIA)
    code = f"print('{{}}'.ljust({LINE_BYTES_MAX + beyond}), flush=True)"
    probe._command = [sys.executable, "-c", code]
    heard: list[tuple[Device, ...]] = []

    def hear(devices: tuple[Device, ...]) -> bool:
        heard.append(devices)
        return False

    if beyond:
        with pytest.raises(ProbeFailed, match=f"more than {LINE_BYTES_MAX} bytes in one line"):
            asyncio.run(probe.listen(hear))
    else:
        asyncio.run(probe.listen(hear))
    assert heard == [()] * (1 - beyond)


@pytest.mark.parametrize("beyond", [0, 2])
def test_a_storm_of_gpu_events_is_taken_up_to_a_limit_in_one_period(
    monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    left = list(range(EVENTS_MAX + beyond))

    def wait(_events: object, _timeout_ms: int) -> SimpleNamespace:
        if not left:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        return SimpleNamespace(device=None, eventData=left.pop(0))

    monkeypatch.setattr(pynvml, "nvmlEventSetCreate", object)
    monkeypatch.setattr(pynvml, "nvmlDeviceRegisterEvents", lambda *_: None)
    monkeypatch.setattr(pynvml, "nvmlEventSetWait", wait)
    assert _Events([None]).wait(1.0) == {0: list(range(EVENTS_MAX))}
    assert len(left) == beyond


async def got(app: Any, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://trainwarden") as client:
        return await client.get(path)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(0.2, 0.2), (1e9, 0.4)])
def test_a_long_poll_is_answered_after_a_limited_time_whatever_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_s: float, waits_s: float
) -> None:
    """The limit is made short here; another run's timeline grows all the time."""
    assert WAIT_MAX_S == 60.0
    monkeypatch.setattr(routes, "WAIT_MAX_S", 0.4)
    store, _ = open_history(tmp_path)
    store.close()
    waited: list[float] = []

    async def wait_for_timeline(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(seconds / 2)

    driver = driven()
    pipeline: Any = SimpleNamespace(core=driver.core, wait_for_timeline=wait_for_timeline)
    nothing: Any = None
    api = Api(pipeline, nothing, FakeClock(), tmp_path / FILE_NAME, nothing, nothing, nothing, nothing)
    api.ready = True
    answer = asyncio.run(got(application(api.endpoints()), f"/api/v1/runs/r/timeline?after=0&wait_s={asked_s}"))
    assert answer.json() == []
    assert 0.0 < waited[0] <= waits_s
    assert all(later < earlier for earlier, later in itertools.pairwise(waited))


@pytest.mark.parametrize("beyond", [0, 1])
def test_an_answer_of_the_daemon_is_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    """The real limit is lowered: the same code, without an answer of 64 MiB."""
    assert http.ANSWER_BYTES_MAX > 10_000_000
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1000)
    with PlainDaemon(tmp_path) as daemon:
        daemon.health = {"text": "x" * (1000 + beyond - len('{"text": ""}'))}
        client = http.Client(tmp_path / "run" / "api.sock")
        if beyond:
            with pytest.raises(http.DeclinedError, match=r"health: the answer is larger than 1000 bytes"):
                client.text("/api/v1/health")
        else:
            assert len(client.text("/api/v1/health")) == 1000


def test_a_foreign_answer_is_quoted_up_to_a_limit() -> None:
    """What listens on the socket may be no daemon of ours."""
    assert http._sentence("/x", 500, b"y" * http.TEXT_MAX) == f"/x: the daemon answered 500 {'y' * http.TEXT_MAX!r}"
    assert http._sentence("/x", 500, b"y" * 9999) == f"/x: the daemon answered 500 {'y' * http.TEXT_MAX!r}"


def test_an_alert_longer_than_the_demos_receiver_takes_is_refused_and_counted() -> None:
    most = b'{"type":"a","pad":"' + b"x" * (BODY_BYTES_MAX - 21) + b'"}'
    assert len(most) == BODY_BYTES_MAX
    with AlertReceiver() as receiver:
        assert httpx.post(receiver.url, content=most).status_code == 204
        with contextlib.suppress(httpx.TransportError):  # it need not read what it refuses
            assert httpx.post(receiver.url, content=most + b" ").status_code == 413
        eventually("the count", lambda: receiver.refused == 1)
        assert httpx.post(receiver.url, content=b"nonsense").status_code == 400
        assert receiver.refused == 2
        assert receiver.kinds() == ("a",)
