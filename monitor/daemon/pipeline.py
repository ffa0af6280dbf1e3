"""The only way into the core: fold, commit, then carry out. Edge file: runs in the daemon's loop.

Inputs are folded as they come and committed in groups; effects are carried out only after the commit that holds them.
So a kill at any point loses no alert, and no effect is carried out that the journal does not hold.
(An order that names a plan leaves at once: the plan was committed and written before, and a restart sends it again.)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

import anyio
import msgspec

from alerts.alert import Alert
from alerts.outbox import OutboxRow
from monitor.core.drive import Driver
from monitor.core.engine import Core
from monitor.core.model import Effect, Entry, Input, Notify, RaiseAlert, SendOrder, Tick, WriteReport
from monitor.core.model.channel import TimelineLine
from monitor.core.state.run import RunState
from monitor.daemon.alert_flow import alert_of
from monitor.daemon.clock import Clock
from monitor.errors import StoreFailed
from monitor.history.outbox import DurableOutbox
from monitor.history.recall import Recalled
from monitor.history.store import OutOfSpace, Store
from monitor.history.transaction_rows import Commit, OutboxChange, Snapshot

GROUP_S = 0.05  # inputs within this commit together; those with effects do not wait for it
SNAPSHOT_S = 60.0
PENDING_MAX = 20_000  # entries that wait for the disk: about 10 MB; then the hooks keep theirs and count what they drop
TICKS_HELD = 256  # quiet ticks that wait for company: about a minute
SPACE_RETRY_S = 1.0

log = logging.getLogger("trainwarden.daemon")
_encoder = msgspec.msgpack.Encoder()


class Pipeline:
    """Feeds the core, commits to the store and hands effects on.

    `alert_of` makes what people get, `receivers` names who gets it; `carry_out` gets each effect but alerts and
    timeline lines, after its commit; `alerts_stored` is called after alerts were stored; `detected` gets (run, seconds)
    of each fold, `fed` each entry after it was folded, `lines_stored` the lines of the timeline after their commit.
    """

    def __init__(
        self,
        core: Core,
        store: Store,
        writer: Executor,
        recalled: Recalled,
        clock: Clock,
        *,
        receivers: Callable[[Alert], tuple[str, ...]],
        carry_out: Callable[[Effect], None],
        alerts_stored: Callable[[], None],
        detected: Callable[[str, float], None],
        alert_of: Callable[[RaiseAlert, RunState | None], Alert] = alert_of,
        fed: Callable[[Entry], None] = lambda _: None,
        lines_stored: Callable[[list[TimelineLine]], None] = lambda _: None,
    ) -> None:
        self.core = core
        self.outbox = DurableOutbox(recalled.waiting, recalled.alerts_known, recalled.outbox, self._change_outbox)
        self._store, self._writer, self._clock = store, writer, clock
        self._receivers, self._alert_of, self._carry_out = receivers, alert_of, carry_out
        self._alerts_stored, self._detected = alerts_stored, detected
        self._fed, self._lines_stored = fed, lines_stored
        self._driver = Driver(core, above=recalled.seq)
        # The timeline of a new history goes on above the numbers of a lost one.
        self._timeline = recalled.timeline or int(clock.now_s())
        self._pending = Commit()
        self._acts: list[Effect] = []  # of the pending commit, orders included
        self._committed: list[Callable[[], None]] = []
        self._something, self._urgent, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._timeline_grew = asyncio.Condition()
        self._snapshot_s = clock.now_s()
        self._stopping = False

    # --- inputs -----------------------------------------------------------------------------------------------------

    def offer(self, given: Input) -> None:
        """Fold an input now; it is on disk soon."""
        began_s = time.perf_counter()
        entry, output = self._driver.feed(given, self._clock.now_s())
        self._detected(getattr(given, "run", ""), time.perf_counter() - began_s)
        self._fed(entry)
        self._pending.entries.append(entry)
        for effect in output.effects:
            self._file(effect, entry.now_s)
        self._note_pending(quiet=isinstance(given, Tick) and not output.effects)

    async def submit(self, given: Input) -> None:
        """Fold an input and return after it is on disk."""
        self.offer(given)
        await self.committed()

    async def committed(self) -> None:
        """Return after everything offered so far is on disk."""
        done = asyncio.get_running_loop().create_future()
        self.when_committed(lambda: None if done.done() else done.set_result(None))
        await done

    async def committed_at_once(self) -> None:
        """As `committed`, and the commit does not wait for company."""
        self._urgent.set()
        await self.committed()

    def when_committed(self, call: Callable[[], None]) -> None:
        """Call it once everything offered so far is on disk."""
        self._committed.append(call)
        self._something.set()

    async def room(self) -> None:
        """Wait until the disk has caught up enough to take more."""
        await self._room.wait()

    def notify(self, run: str, severity: str, text: str) -> None:
        """A line of the daemon's own in the timeline; an empty `run` is for all."""
        self._add_line(run, severity, text, self._clock.now_s())
        self._note_pending()

    def raise_alert(self, effect: RaiseAlert) -> None:
        """Store an alert of the daemon's own. One that was stored before changes nothing."""
        now_s, stored = self._clock.now_s(), len(self._pending.alerts)
        self._file(effect, now_s)
        if len(self._pending.alerts) > stored:
            self._note_pending()

    def finish(self, effect: Effect) -> None:
        """The effect is carried out; a restart need not do it again."""
        self._pending.done.append(effect.id)
        self._note_pending()

    def _change_outbox(self, change: OutboxChange) -> None:
        self._pending.outbox.append(change)
        self._note_pending()

    def _note_pending(self, quiet: bool = False) -> None:
        waiting = len(self._pending.entries)
        if waiting >= PENDING_MAX:
            self._room.clear()
        if not quiet or waiting >= TICKS_HELD:
            self._something.set()

    def _file(self, effect: Effect, now_s: float) -> None:
        """Put an effect where the commit keeps it."""
        if isinstance(effect, Notify):
            self._add_line(effect.run, effect.severity, effect.text, now_s)
            return
        if isinstance(effect, SendOrder) and effect.order.plan:
            self._carry_out(effect)  # its intent was committed with the plan, which is on disk
            return
        self._urgent.set()
        if isinstance(effect, RaiseAlert):
            alert = self._alert_of(effect, self.core.fleet.runs.get(effect.run))
            self._pending.alerts += self.outbox.rows_for(alert, effect.run, self._receivers(alert), now_s)
            return
        self._acts.append(effect)
        if not isinstance(effect, SendOrder):  # the core asks for an order again until it is answered
            self._pending.effects.append(effect)

    def _add_line(self, run: str, severity: str, text: str, at_s: float) -> None:
        self._timeline += 1
        text = text.encode(errors="backslashreplace").decode()  # SQLite can't hold a lone surrogate
        self._pending.timeline.append(TimelineLine(self._timeline, run, at_s, str(severity), text))

    # --- behind it --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit until `stop`, and then once more with a snapshot. Don't cancel it: a commit must be seen through.

        Raises StoreFailed where only a restart can find out what is on disk.
        """
        while not self._stopping:
            await self._something.wait()
            await self._gather()
            await self._commit()
        self._snapshot_s = float("-inf")
        await self._commit()

    def stop(self) -> None:
        """Let `run` end after everything offered so far is on disk."""
        self._stopping = True
        self._something.set()
        self._urgent.set()

    async def wait_for_timeline(self, wait_s: float) -> None:
        """Return when the timeline grew, or after `wait_s`."""
        async with self._timeline_grew:
            with anyio.move_on_after(wait_s):
                await self._timeline_grew.wait()

    async def wake_readers(self) -> None:
        """Let those that wait for the timeline look again."""
        async with self._timeline_grew:
            self._timeline_grew.notify_all()

    async def _gather(self) -> None:
        with anyio.move_on_after(GROUP_S):
            await self._urgent.wait()

    async def _commit(self) -> None:
        commit, acts, committed = self._pending, self._acts, self._committed
        self._pending, self._acts, self._committed = Commit(), [], []
        self._something.clear()
        self._urgent.clear()
        commit.snapshot = self._due_snapshot(commit, acts)
        if not commit.empty:
            await self._write(commit)
        self._room.set()
        await self._after(commit.alerts, commit.timeline, acts, committed)

    def _due_snapshot(self, commit: Commit, acts: list[Effect]) -> Snapshot | None:
        """The state as it is now, where one is due: by time, and whenever an alert goes out or an incident moves."""
        now_s = self._clock.now_s()
        moved = commit.alerts or any(isinstance(effect, WriteReport) for effect in acts)
        if not moved and 0.0 <= now_s - self._snapshot_s < SNAPSHOT_S:  # a clock that was corrected may go back
            return None
        self._snapshot_s = now_s
        fleet = self.core.fleet
        return Snapshot(fleet.seq, _encoder.encode(fleet))

    async def _write(self, commit: Commit) -> None:
        """Write until it is written: on a full disk detection goes on in memory, and no effect is carried out."""
        loop = asyncio.get_running_loop()
        logged = False
        while True:
            try:
                await loop.run_in_executor(self._writer, self._store.commit, commit)
            except OutOfSpace as error:
                if self._stopping:
                    raise StoreFailed(f"leaving with {len(commit.entries)} inputs not stored: {error}") from error
                if not logged:
                    log.error("nothing can be stored (%s); detection goes on, alerts and actions wait for space", error)  # noqa: TRY400
                logged = True
                await asyncio.sleep(SPACE_RETRY_S)
            else:
                return

    async def _after(
        self,
        alerts: list[OutboxRow],
        timeline: list[TimelineLine],
        acts: list[Effect],
        committed: list[Callable[[], None]],
    ) -> None:
        if alerts:
            self.outbox.add(alerts)
            self._alerts_stored()
        for call in committed:
            call()
        for effect in acts:
            self._carry_out(effect)
        if timeline:
            self._lines_stored(timeline)
            await self.wake_readers()
