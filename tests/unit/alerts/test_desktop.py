"""The desktop, on a real bus where there is one to start, with a notification service of ours."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import msgspec
import pytest

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent
from alerts.notifiers.desktop import DesktopConfig, desktop
from tests.harness.alerts import START_S, alert

jeepney = pytest.importorskip("jeepney")
NAME = "org.freedesktop.Notifications"


def tried(told: Alert) -> Sent:
    async def once() -> Sent:
        return await desktop(told, DesktopConfig(timeout_s=3.0), Http(), START_S)

    return asyncio.run(once())


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the desktop was asked to show."""
    if which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed here")
    address = f"unix:path={tmp_path}/bus"
    command = ["dbus-daemon", "--session", "--nofork", "--print-address", f"--address={address}"]
    bus = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert bus.stdout is not None
    bus.stdout.readline()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    got: list[Any] = []
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import open_dbus_connection

    service = open_dbus_connection(bus="SESSION")
    service.send_and_get_reply(message_bus.RequestName(NAME))

    def serve() -> None:
        while True:
            try:
                call = service.receive()
            except (OSError, ConnectionError, EOFError):
                return
            got.append(call.body)
            service.send(jeepney.new_method_return(call, "u", (7,)))
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield got
    bus.terminate()
    bus.wait()
    thread.join()
    service.close()
    bus.stdout.close()


def test_a_message_is_shown_as_plain_text(shown: list[Any]) -> None:
    told = msgspec.structs.replace(alert("a"), text="<b>epoch 4</b>", severity="critical")
    assert tried(told) == Sent(Outcome.OK)
    [(program, _, _, title, text, _, hints, _)] = shown
    assert (program, title, text) == ("trainwarden", "non-finite batches", "&lt;b&gt;epoch 4&lt;/b&gt;")
    assert hints["urgency"] == ("y", 2)


def test_the_bus_is_found_where_systemd_puts_it(
    shown: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert tried(alert("a")) == Sent(Outcome.OK)
    assert len(shown) == 1


def test_without_a_session_it_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    sent = tried(alert("a"))
    assert sent.outcome is Outcome.RETRY
    assert sent.reason.startswith("no desktop took it: there is no desktop session here")
