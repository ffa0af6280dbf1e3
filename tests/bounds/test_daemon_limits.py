"""The limits of what the daemon takes from the hardware: just at each of them, and one beyond."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pynvml
import pytest

from monitor.core.state.run import Fleet
from monitor.daemon.hardware.nvml import EVENTS_MAX, _Events
from monitor.daemon.hardware.poll import LAST, SENTENCES_MAX, Hardware
from monitor.daemon.hardware.probe import LINE_BYTES_MAX, GpuProbe, PollIntervals, ProbeFailed
from monitor.daemon.hardware.reading import Device


def test_of_more_different_sentences_than_the_limit_one_says_that_they_are_not_shown() -> None:
    told: list[str] = []
    hardware = Hardware(Fleet, lambda _run, _severity, text: told.append(text), lambda _: None)
    for number in range(SENTENCES_MAX + 2):
        hardware._notify_once(str(number))
        hardware._notify_once(str(number))
    assert told == [*(str(number) for number in range(SENTENCES_MAX)), LAST]


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_line_of_the_probe_is_read_up_to_a_limit(beyond: int) -> None:
    probe = GpuProbe(PollIntervals())
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
