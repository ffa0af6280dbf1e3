"""The one thread that touches the socket and the events file. Whatever fails in it, it starts over; training never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from trainer_hooks.link import Alarm, Link
from trainer_hooks.orders import OrderInbox
from trainer_hooks.outbox import Outbox, Packer
from trainer_hooks.wire.codec import WireError, decode_downlink
from trainer_hooks.wire.eventfile import EventFile
from trainer_hooks.wire.messages import EventsSeen, Order, Record, Refused

TURN_S = 0.05  # a frame every 50 ms: what a person calls live, and 20 wake-ups a second
RESEND_S = 1.0
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
FRAMES_A_TURN_MAX = 64  # then the thread looks for orders and acknowledgements again

_log = logging.getLogger("trainwarden")


class SenderThread:
    """Empties the outbox into the link, brings acknowledgements and orders back."""

    def __init__(
        self, address: Callable[[], str], outbox: Outbox, packer: Packer, inbox: OrderInbox, events: EventFile
    ) -> None:
        self.errors = 0
        self.undecodable = 0  # messages of the daemon that were none, or for another generation or rank
        self.frames_refused = 0  # by the daemon
        self.connected = False
        self._address = address
        self._outbox = outbox
        self._packer = packer
        self._inbox = inbox
        self._events = events
        self._alarm = Alarm()
        self._in_hand: list[bytes] = []  # frames taken from the outbox and not yet given to ZeroMQ
        self._busy = False
        self._resend_at_s = 0.0
        self._told: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trainwarden-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Send now instead of at the next turn. Safe on the step path: one write to a pipe."""
        self._alarm.ring()

    def flush(self, timeout_s: float) -> bool:
        """True: every record was given to ZeroMQ and every event acknowledged within the time."""
        self.wake()
        with self._changed:
            return self._changed.wait_for(self._all_gone, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """End the thread. True: it has ended."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _all_gone(self) -> bool:
        return self._outbox.empty and not self._busy and self._outbox.acknowledged  # in the order they are filled

    def _run(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001 - this thread must outlive every error
                self._note("sender", error)
            if time.monotonic() - started_s > BACKOFF_MAX_S:
                backoff_s = BACKOFF_MIN_S
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _serve(self) -> None:
        link = Link(self._address(), self._alarm)
        try:
            while not self._stopping.is_set():
                link.wait(TURN_S)
                self._turn(link, time.monotonic())
            self._turn(link, time.monotonic())  # what was written to the outbox before the stop leaves too
        finally:
            self.connected = False
            link.close()
            self._events_file(self._events.close)

    def _turn(self, link: Link, now_s: float) -> None:
        for data in link.receive():
            self._receive(data, now_s)
        self._events_file(self._spool)
        self.connected = link.writable
        self._send_waiting(link)
        if self.connected and now_s >= self._resend_at_s and not self._outbox.acknowledged:
            self._resend_at_s = now_s + RESEND_S
            self._send(link, list(self._outbox.unacknowledged()))
        with self._changed:
            self._changed.notify_all()

    def _send_waiting(self, link: Link) -> None:
        for _ in range(FRAMES_A_TURN_MAX):
            if not link.writable:
                return
            self._busy = True
            records = self._outbox.take() if not self._in_hand else []
            if any(not hasattr(record, "batch") for record in records):
                self._resend_at_s = max(self._resend_at_s, time.monotonic() + RESEND_S)
            self._send(link, records)
            if self._outbox.empty and not self._in_hand:
                return

    def _send(self, link: Link, records: list[Record]) -> None:
        self._in_hand += self._packer.pack(records)
        while self._in_hand and link.send(self._in_hand[0]):
            del self._in_hand[0]
        self._busy = bool(self._in_hand)

    def _receive(self, data: bytes, now_s: float) -> None:
        try:
            message = decode_downlink(data)
        except WireError as error:
            self.undecodable += 1
            self._tell_once("message", f"the daemon sent what is no message: {error}")
            return
        if isinstance(message, Order):
            self._inbox.offer(message)
        elif isinstance(message, EventsSeen):
            self._acknowledge(message, now_s)
        elif isinstance(message, Refused):
            self.frames_refused += 1
            self._tell_once(f"refused {message.reason}", f"the daemon refused our records: {message.reason}")
