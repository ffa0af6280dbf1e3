"""Shows a message on the desktop of this machine, by its session bus. Opens a socket of the desktop's."""

from __future__ import annotations

import html
import os
from importlib import import_module
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, TimeoutS, register
from alerts.posting import shown

TITLE_CHARS, TEXT_CHARS = 150, 1000
URGENCIES = {"critical": 2, "warning": 1, "info": 0}
NOT_INSTALLED = "jeepney is not installed where the daemon runs: pip install 'trainwarden[notify]'"


class DesktopConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A message on the desktop of the machine that trains; the daemon must run within its session."""

    timeout_s: TimeoutS = 5.0


@register("desktop", DesktopConfig)
async def desktop(alert: Alert, config: DesktopConfig, http: Http, now_s: float) -> Sent:
    """One try. Without a session bus, as over SSH, another one may help once somebody sits there."""
    try:
        with anyio.fail_after(config.timeout_s):
            return await anyio.to_thread.run_sync(_show, alert, config.timeout_s, abandon_on_cancel=True)
    except TimeoutError:
        return Sent(Outcome.RETRY, f"no answer within {config.timeout_s:g} s")


NO_BUS = "there is no desktop session here (DBUS_SESSION_BUS_ADDRESS is not set)"


def _bus() -> str:
    """The session's bus; a daemon that was started over SSH or by systemd finds it where systemd puts it."""
    usual = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "bus"
    return f"unix:path={usual}" if "DBUS_SESSION_BUS_ADDRESS" not in os.environ and usual.exists() else "SESSION"


def _show(alert: Alert, timeout_s: float) -> Sent:
    try:
        jeepney, blocking = import_module("jeepney"), import_module("jeepney.io.blocking")
    except ImportError:
        return Sent(Outcome.REFUSED, NOT_INSTALLED)
    where = jeepney.DBusAddress(
        "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "org.freedesktop.Notifications"
    )
    title, text = shown(alert.title, TITLE_CHARS), html.escape(shown(alert.text, TEXT_CHARS))
    hints = {"urgency": ("y", 1 if alert.ended_well else URGENCIES.get(alert.severity, 1))}
    call = jeepney.new_method_call(where, "Notify", "susssasa{sv}i", ("trainwarden", 0, "", title, text, [], hints, -1))
    try:
        with blocking.open_dbus_connection(bus=_bus()) as bus:
            answer = bus.send_and_get_reply(call, timeout=timeout_s)
    except KeyError:  # the environment names no bus
        return Sent(Outcome.RETRY, f"no desktop took it: {NO_BUS}")
    except Exception as error:  # noqa: BLE001 - ValueError of a wrong address, OSError, TimeoutError, the library's own
        return Sent(Outcome.RETRY, f"no desktop took it ({type(error).__name__})")
    failed = answer.header.message_type is jeepney.MessageType.error
    return Sent(Outcome.RETRY, "the desktop refused it") if failed else Sent(Outcome.OK)
