"""Takes alerts from the outbox to their receivers: the one place that retries. Runs in an asyncio loop.

Delivery is at least once: a row is settled after its receiver answered, so a crash between the two repeats it under the
same id.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

import anyio
import msgspec
from anyio.abc import TaskGroup

from alerts import notifiers
from alerts.digest import Parcel, parcel_of
from alerts.http import Http
from alerts.notifiers import RESEND_S, Outcome, Registered, Sent
from alerts.outbox import EXPIRES_S, Outbox, OutboxRow, Settled
from alerts.resend import Live
from alerts.stages import Passage, Sending, sending_of

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 300.0
POLL_S = 5.0  # rows that an earlier process put off are noticed within this
WAITED_S = 120.0  # a row that nobody tried for so long waited for something: it leaves with the others that did
IN_FLIGHT_MAX = 16  # receivers tried at once; the next one waits for the shortest timeout among them

Judge = Callable[[Sequence[OutboxRow], Sequence[Sending], AbstractSet[int], float], Passage]

log = logging.getLogger("trainwarden.alerts")


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who hears of alerts. Two equal ones are one: it never sees two tries at once."""

    name: str
    kind: str  # of the notifier
    config: object  # of the notifier's config type


def backoff_s(attempts: int, jitter: float) -> float:
    """Seconds to wait after `attempts` failed tries: 1 s doubling to 5 min, less `jitter` (0 to 1) times half of it."""
    full_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempts - 1, 30))
    return full_s * (1 - jitter / 2)


class Deliverer:
    """Delivers what is due until it is cancelled.

    `receivers` gives the receiver of a row, or None while none has that name: the row then waits like one that
    could not be sent. `clock` gives Unix seconds. `on_settled` hears of each row that is done with, after the outbox.
    `judge` says of the rows that wait which may go now (alerts.stages); without it all may. `sent` and `live`:
    what was delivered before, and of it what has to be sent again (alerts.resend).
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Callable[[OutboxRow], Receiver | None],
        clock: Callable[[], float],
        on_settled: Callable[[OutboxRow, Settled], None],
        *,
        http: Http | None = None,
        jitter: Callable[[], float] = random.random,
        judge: Judge | None = None,
        sent: Iterable[Sending] = (),
        live: Iterable[OutboxRow] = (),
        resend_s: float = RESEND_S,
    ) -> None:
        self._outbox = outbox
        self._receivers = receivers
        self._clock = clock
        self._on_settled = on_settled
        self._http = http or Http()
        self._jitter = jitter
        self._judge = judge
        self._sent = list(sent)  # within EXPIRES_S
        self._live, self._resend_s = Live(live), resend_s
        self._held: set[int] = set()  # rows that wait
        self._waited: set[int] = set()  # rows that ever had to wait: they leave together
        self._kinds: dict[str, Registered] = {}
        self._in_flight: set[Receiver] = set()
        self._put_off: dict[int, float] = {}  # by row, when it is due again
        self._looked_s = 0.0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something was stored: look now. Call it from the loop's thread."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled. What the outbox raises ends it, in an ExceptionGroup: nothing can be promised."""
        self._kinds = notifiers.load_all()
        async with self._http, anyio.create_task_group() as tries:
            tries.start_soon(self._send_again)
            while True:
                self._woken.clear()
                self._start_due(tries)
                await self._wait()

    def _start_due(self, tries: TaskGroup) -> None:
        self._looked_s = self._clock()
        going = self._going(self._looked_s)
        for row in self._outbox.due(self._looked_s, self._held):
            receiver = self._receivers(row)
            if receiver is None:
                self._conclude(row, Sent(Outcome.RETRY, f"no receiver named {row.receiver!r} is configured"))
            elif receiver not in self._in_flight and len(self._in_flight) < IN_FLIGHT_MAX:
                self._in_flight.add(receiver)
                self._put_off.pop(row.id, None)
                tries.start_soon(self._try_once, self._parcel(row, receiver, going), receiver)

    def _going(self, now_s: float) -> tuple[OutboxRow, ...]:
        """The rows that may leave. Those that are never sent are settled here."""
        rows = self._outbox.waiting()
        if self._judge is None:
            return tuple(rows)
        self._sent = [sending for sending in self._sent if sending.at_s > now_s - EXPIRES_S]
        late = {row.id for row in rows if row.attempts == 0 and now_s - row.created_s > WAITED_S}
        self._waited = (self._waited | late) & {row.id for row in rows}
        try:
            passage = self._judge(rows, self._sent, self._waited, now_s)
        except Exception:
            log.exception("it could not be judged which alerts may wait: all are sent; a defect, please report it")
            self._held = set()
            return tuple(rows)
        self._held = {held.row.id for held in passage.held}
        self._waited |= self._held
        for stopped in passage.stopped:
            log.info("alert %s to %s: not sent: %s", stopped.row.alert.id, stopped.row.receiver, stopped.reason)
            self._settle(stopped.row, Settled.SUPPRESSED)
        return passage.going

    def _parcel(self, row: OutboxRow, receiver: Receiver, going: Sequence[OutboxRow]) -> Parcel:
        """What leaves with the row: where it had to wait, all that waited for the same receiver."""
        registered = self._kinds.get(receiver.kind)
        if row.id not in self._waited or (registered is not None and registered.each):
            return Parcel(row)
        now_s = self._clock()
        waited = [one for one in going if one.id in self._waited and one.next_s <= now_s]
        waited = [one for one in waited if self._receivers(one) == receiver]
        return parcel_of(row, waited)

    async def _wait(self) -> None:
        with anyio.move_on_after(self._wait_s()):
            await self._woken.wait()

    def _wait_s(self) -> float:
        """Until the next row is due again; one that was due already waits for its receiver, which wakes us."""
        now_s = self._clock()
        later = [due_s - now_s for due_s in self._put_off.values() if due_s > self._looked_s]
        return max(0.0, min([POLL_S, *later]))

    async def _send_again(self) -> None:
        """Repeat what receivers forget, until cancelled."""
        while True:
            await asyncio.sleep(self._resend_s)
            await self._repeat(self._live.due(self._clock()))

    async def _repeat(self, rows: Sequence[OutboxRow]) -> None:
        """One try each; what is in flight to the same receiver is not waited for, since the next round comes."""
        for row in rows:
            receiver = self._receivers(row)
            registered = self._kinds.get(receiver.kind) if receiver is not None else None
            if receiver is None or registered is None or not registered.resend or receiver in self._in_flight:
                continue
            self._in_flight.add(receiver)
            try:
                sent = await self._notify(row, receiver)
            finally:
                self._in_flight.discard(receiver)
            log.debug("alert %s to %s: sent again: %s", row.alert.id, row.receiver, sent.reason or sent.outcome)
        self.wake()

    async def _try_once(self, parcel: Parcel, receiver: Receiver) -> None:
        try:
            sent = await self._notify(parcel.row, receiver)
        finally:
            self._in_flight.discard(receiver)
        self._conclude(parcel.row, sent, parcel.with_it)
        if sent.outcome is Outcome.OK:
            await self._repeat([over for one in (parcel.row, *parcel.with_it) for over in self._live.take(one)])
        self.wake()  # the next row of this receiver may go

    async def _notify(self, row: OutboxRow, receiver: Receiver) -> Sent:
        registered = self._kinds.get(receiver.kind)
        if registered is None:
            return Sent(
                Outcome.REFUSED, f"no notifier of kind {receiver.kind!r}; there are: {', '.join(sorted(self._kinds))}"
            )
        try:
            return await registered.notify(row.alert, receiver.config, self._http, self._clock())
        except Exception as error:  # noqa: BLE001 - a plug-in's own fault; its text may hold a secret, so only its type is shown
            return Sent(Outcome.RETRY, f"notifier {receiver.kind!r} raised {type(error).__name__}")

    def _conclude(self, row: OutboxRow, sent: Sent, with_it: Sequence[OutboxRow] = ()) -> None:
        """Settle the row, or put it off; the only place that writes to the outbox."""
        attempts, now_s = row.attempts + 1, self._clock()
        wait_s = max(backoff_s(attempts, self._jitter()), sent.retry_after_s or 0.0)
        settled = _settled(sent, too_late=now_s + wait_s > row.created_s + EXPIRES_S)
        if settled is None:
            log.log(_level(attempts), "alert %s to %s: try %d: %s", row.alert.id, row.receiver, attempts, sent.reason)
            self._outbox.reschedule(row.id, attempts, now_s + wait_s, sent.reason)
            self._put_off[row.id] = now_s + wait_s
            return
        if settled is not Settled.DELIVERED:
            log.error("alert %s to %s: %s after try %d: %s", row.alert.id, row.receiver, settled, attempts, sent.reason)
        for one in (row, *with_it):
            if settled is Settled.DELIVERED:
                self._sent.append(sending_of(one.receiver, one.lane, one.alert, now_s, counts=one is row))
            self._settle(one, settled)

    def _settle(self, row: OutboxRow, settled: Settled) -> None:
        self._put_off.pop(row.id, None)
        self._outbox.settle(row.id, settled, self._clock())
        self._on_settled(row, settled)


def _settled(sent: Sent, too_late: bool) -> Settled | None:
    match sent.outcome:
        case Outcome.OK:
            return Settled.DELIVERED
        case Outcome.REFUSED:
            return Settled.REFUSED
        case Outcome.RETRY:
            return Settled.EXPIRED if too_late else None


def _level(attempts: int) -> int:
    return logging.WARNING if attempts == 1 else logging.DEBUG  # an outage is logged once a row, not once a try
