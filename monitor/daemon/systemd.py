"""Tells systemd that the daemon is ready, alive, and leaving: sd_notify(3). Nothing where systemd did not start it.

An edge file: one datagram socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger("trainwarden.daemon")


class Systemd:
    """The service manager, as far as the environment names it. Its variables are taken away: children inherit none."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_s = int(limit_us) / 1e6 if limit_us.isdecimal() and ours else None

    def notify(self, state: str) -> None:
        """Such as READY=1. One that does not arrive is logged: systemd then decides by itself."""
        if not self._address:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.sendto(state.encode(), name)
        except OSError as error:
            log.warning("systemd did not get %s: %s", state, error)

    async def keep_alive(self) -> None:
        """Feed the watchdog from the event loop, until cancelled: a loop that stands still is started again."""
        if self.watchdog_s is None:
            await asyncio.Event().wait()
            return
        while True:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 3)
