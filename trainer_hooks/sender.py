"""The one thread that touches the socket and the events file. Whatever fails in it, it starts over."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import ParamSpec

from msgspec.structs import replace

from trainer_hooks.counts_keeper import CountsKeeper
from trainer_hooks.hang_dump import Heartbeat
from trainer_hooks.link import Alarm, Link
from trainer_hooks.orders import STACKS, OrderInbox
from trainer_hooks.outbox import Outbox, Packer
from trainer_hooks.sanitize import fit
from trainer_hooks.stacks import describe_threads
from trainer_hooks.wire.codec import WireError, decode_downlink
from trainer_hooks.wire.eventfile import EventFile
from trainer_hooks.wire.messages import (
    BatchEnded,
    EventSent,
    HookTrouble,
    Order,
    PhaseChanged,
    Record,
    Refused,
    StacksSeen,
)

# A frame every 100 ms: what a person calls live, and what a SIGKILL may take with it. What is bad wakes the thread at
# once. One round takes half a millisecond of CPU, in part with the interpreter's lock, for which the training waits.
ROUND_S = 0.1
RESEND_S = 1.0
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
COMPLAINTS_MAX = 16  # different complaints in the user's log; what comes after is only counted
FRAMES_PER_ROUND_MAX = 64  # then the thread looks for orders and acknowledgements again
LOADER = "torch/utils/data/dataloader.py"  # in the stack of a thread that waits for its workers
RETIRE_S = 30.0  # for what a training that is over still has to send; its events are in the events file by then
ALONE_S = 1.0  # a daemon that is there is connected to within milliseconds
NO_DAEMON = (
    "no trainwarden daemon is running, so nothing of this training is recorded or checked, and nobody is alerted. "
    "Start the training with `trainwarden run -- python ...`, or start a daemon beside it with `trainwarden serve`"
)
DUMPS_MAX = 50  # answers to orders of kind "stacks" in one process; an honest daemon asks for ten in a run

P = ParamSpec("P")

_log = logging.getLogger("trainwarden")


class SenderThread:
    """Empties the outbox into the link, brings acknowledgements and orders back."""

    def __init__(
        self,
        address: Callable[[], str],
        outbox: Outbox,
        packer: Packer,
        inbox: OrderInbox,
        events: EventFile,
        round_s: float = ROUND_S,
        light: Callable[[], Heartbeat] | None = None,
        copies_lost: Callable[[], int] = lambda: 0,
        keeper: CountsKeeper | None = None,
        complain: bool = False,
    ) -> None:
        """`light` arms the hang dump of this thread (see trainer_hooks.hang_dump); None: there is none.

        `copies_lost`: checkpoints of this process that no copy is kept of, so far. `keeper`: keeps the last counters;
        None: nobody does. `complain`: nobody but us can tell the user that no daemon is there.
        """
        self.errors = 0
        self.connected = False
        self._address = address
        self._outbox = outbox
        self._packer = packer
        self._inbox = inbox
        self._events = events
        self._round_s = round_s
        self._light = light
        self._copies_lost = copies_lost
        self._keeper = keeper
        self._complain_at_s = time.monotonic() + ALONE_S if complain else math.inf
        self._heartbeat: Heartbeat | None = None
        self._phase = ""  # as the last PhaseChanged says
        self._record_s = time.monotonic()  # when the last record came
        self._dumps = 0
        self._alarm = Alarm()
        self._in_hand: list[bytes] = []  # frames taken from the outbox and not yet given to ZeroMQ
        self._busy = False
        self._resend_at_s = 0.0
        self._logged: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._nothing_more: Callable[[], bool] | None = None  # asked once the training is over
        self._retire_at_s = math.inf
        self._thread = threading.Thread(target=self._run, name="trainwarden-sender", daemon=True)

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Send now instead of at the next round. Safe on the step path: one write to a pipe."""
        self._alarm.ring()

    def flush(self, timeout_s: float) -> bool:
        """True: every record was given to ZeroMQ and every event acknowledged within the time."""
        self.wake()
        with self._changed:
            return self._changed.wait_for(self._all_gone, timeout_s)

    def retire(self, nothing_more: Callable[[], bool]) -> None:
        """The training is over: the thread ends by itself once everything is acknowledged, or after RETIRE_S.

        `nothing_more` says that no further event will come; it is asked from the thread.
        """
        self._retire_at_s = time.monotonic() + RETIRE_S
        self._nothing_more = nothing_more
        self.wake()

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
        self._offer_hang_dump()
        while not self._stopping.is_set():
            started_s = time.monotonic()
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001 - this thread must outlive every error
                self._failed("sender", error)
            self._spool()  # where no link can be had at all, the file is the only way out
            self._keep_counts(time.monotonic())
            self._retire_if_done(time.monotonic())
            if time.monotonic() - started_s > BACKOFF_MAX_S:
                backoff_s = BACKOFF_MIN_S
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
        self._keep_counts(time.monotonic(), last=True)
        self._with_file(self._events.close)

    def _keep_counts(self, now_s: float, *, last: bool = False) -> None:
        if self._keeper is not None:
            alone = not self.connected
            self._with_file(self._keeper.keep, self._outbox.newest, now_s, alone=alone, last=last)

    def _offer_hang_dump(self) -> None:
        try:
            self._heartbeat = self._light() if self._light else None
        except Exception as error:  # noqa: BLE001 - without one a hang is described less well, nothing else
            _log.debug("no hang_dump: %r", error)  # no concern of the user's, until a training hangs

    def _serve(self) -> None:
        link = Link(self._address(), self._alarm)
        try:
            while not self._stopping.is_set():
                message = link.wait(self._round_s)
                self._round(link, time.monotonic(), message)
        finally:
            self.connected = False
            link.close()

    def _round(self, link: Link, now_s: float, message: bool) -> None:
        if self._heartbeat is not None:
            self._heartbeat.beat()
        if message:
            for data in link.receive():
                self._receive(data, now_s)
        self._spool()
        self.connected = link.writable
        self._send_new(link, now_s)
        self._keep_counts(now_s)
        self._notify_without_daemon(now_s)
        if now_s >= self._resend_at_s and self.connected and not self._in_hand:  # not before what was new, see above
            self._resend_at_s = now_s + RESEND_S
            self._send(link, self._outbox.unacknowledged())
        self._retire_if_done(now_s)
        with self._changed:
            self._changed.notify_all()

    def _notify_without_daemon(self, now_s: float) -> None:
        """Once, and only where no supervisor does it."""
        if self.connected:
            self._complain_at_s = math.inf
        elif now_s >= self._complain_at_s:
            self._complain_at_s = math.inf
            self._log_once("no daemon", NO_DAEMON)

    def _retire_if_done(self, now_s: float) -> None:
        if self._nothing_more is None:
            return
        if self._nothing_more() and (self._all_gone() or now_s >= self._retire_at_s):
            self._stopping.set()

    def _send_new(self, link: Link, now_s: float) -> None:
        for _ in range(FRAMES_PER_ROUND_MAX):
            if (self._outbox.empty and not self._in_hand) or not link.writable:
                return
            self._busy = True  # before the ring is seen empty: see _all_gone
            records = [] if self._in_hand else self._with_losses(self._outbox.take())
            if self._keeper is not None:
                self._keeper.sent(records)
            self._look_over(records, now_s)
            self._send(link, records)

    def _with_losses(self, records: list[Record]) -> list[Record]:
        """Let the batches report what was lost between us and the daemon. Here, not on the step path; rarely any."""
        refused, lost = self._inbox.refused, self._copies_lost()
        if not refused and not lost:
            return records
        return [
            replace(record, counts=replace(record.counts, messages_refused=refused, copies_lost=lost))
            if isinstance(record, BatchEnded)
            else record
            for record in records
        ]

    def _look_over(self, records: Sequence[Record], now_s: float) -> None:
        if records:
            self._record_s = now_s
        for record in records:
            if isinstance(record, EventSent):
                self._resend_at_s = now_s + RESEND_S
                if isinstance(record.body, PhaseChanged):
                    self._phase = record.body.phase

    def _send(self, link: Link, records: Sequence[Record]) -> None:
        self._in_hand += self._packer.pack(records)
        self._log_losses()
        while self._in_hand and link.send(self._in_hand[0]):
            del self._in_hand[0]
        self._busy = bool(self._in_hand)

    def _receive(self, data: bytes, now_s: float) -> None:
        try:
            message = decode_downlink(data)
        except WireError as error:
            self._inbox.refused += 1
            self._log_once("undecodable", f"the daemon sent what is no message: {error}")
            return
        if isinstance(message, Order):
            if self._inbox.offer(message) and message.kind == STACKS:
                self._send_stacks(message, now_s)
        elif isinstance(message, Refused):
            self._log_once(f"refused: {message.reason}", f"the daemon refused our records: {message.reason}")
        elif (message.generation, message.training, message.rank) == self._packer.address:
            held_back = self._outbox.acknowledge(message.seq)
            self._resend_at_s = now_s if held_back else now_s + RESEND_S
        else:
            self._inbox.refused += 1

    def _send_stacks(self, order: Order, now_s: float) -> None:
        """From this thread, since the one that trains may hang. Once for each order, and not for ever."""
        self._dumps += 1
        if self._dumps <= DUMPS_MAX:
            threads = describe_threads(leave_out=frozenset({threading.get_ident()}))
            threads += self._workers(threads)
            waited_s = now_s - self._record_s
            self._outbox.event(fit(StacksSeen(time.time(), order.id, self._phase, waited_s, "hook", threads)))

    def _workers(self, threads: Sequence[str]) -> tuple[str, ...]:
        """What a loader's workers do, where the training waits for them."""
        if self._heartbeat is None or LOADER not in threads[0]:
            return ()
        try:
            return tuple(self._heartbeat.ask_workers())
        except OSError as error:  # one has just ended; without them the stacks are sent all the same
            _log.debug("workers could not be asked: %r", error)
            return ()

    def _spool(self) -> None:
        if self._outbox.acknowledged:
            self._with_file(self._events.clear)
            return
        for event in self._outbox.unspooled():
            self._with_file(self._events.append, event)

    def _with_file(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            action(*args, **kwargs)
        except OSError as error:
            self._failed("events file", error)

    def _failed(self, where: str, error: Exception) -> None:
        self.errors += 1
        self._log_once(where, f"{where}: {type(error).__name__}: {error}; training goes on, tried again")

    def _log_losses(self) -> None:
        """Report, once, records that never leave, here and to the daemon: it would take the silence for health."""
        for subject, why in (("record made", self._outbox.unmade_why), ("record sent", self._packer.unsendable_why)):
            if why and self._log_once(subject, f"no {subject}: {why}; training goes on, unwatched where that is so"):
                self._outbox.event(fit(HookTrouble(time.time(), subject, why, switched_off=False)))

    def _log_once(self, subject: str, text: str) -> bool:
        """True: this was new."""
        if subject in self._logged or len(self._logged) >= COMPLAINTS_MAX:
            return False
        self._logged.add(subject)
        _log.warning("%s", text)
        return True
