"""What happens, passed on to those who watch: at a bounded rate, through a bounded queue for each.

A watcher first hears how everything is, then what changed. One that takes too little loses the oldest frames of its
queue, and hears everything anew when it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import anyio
import msgspec

from monitor.core.model import Entry
from monitor.core.model.channel import TimelineLine
from monitor.core.state.run import Fleet
from monitor.daemon.api.glance import IncidentChanged, glance_of
from monitor.daemon.api.live_batches import BatchColumns, columns_of
from monitor.daemon.api.snapshots import incident_of, incidents_of
from monitor.history.transaction_rows import Sample, sample_of

PERIOD_S = 0.5  # between two looks at the state
QUEUE_MAX = 64  # frames of one watcher; beyond it the oldest goes
WATCHERS_MAX = 50  # streams at a time: each keeps a connection
BATCHES_MAX = 4000  # of one watcher in one period; beyond it the oldest go, counted in `skipped`

_json = msgspec.json.Encoder()


def frame(event: str, value: object, number: int | None = None) -> bytes:
    """One event as a stream carries it; JSON holds no line break."""
    head = f"id: {number}\nevent: {event}\n" if number is not None else f"event: {event}\n"
    return head.encode() + b"data: " + _json.encode(value) + b"\n\n"


class Watcher:
    """One stream. `key` and `rank`: whose batches it wants; an empty key: nobody's."""

    def __init__(self, key: str, rank: int) -> None:
        self.key, self.rank = key, rank
        self.stale = True  # it must hear everything
        self.closed = False
        self.sending: anyio.CancelScope | None = None  # a write that waits for the client
        self._frames: deque[bytes] = deque()
        self._batches: deque[Sample] = deque(maxlen=BATCHES_MAX)
        self._skipped = 0
        self._something = asyncio.Event()

    def put(self, data: bytes) -> None:
        if len(self._frames) >= QUEUE_MAX:
            self._frames.popleft()
            self.stale = True
        self._frames.append(data)
        self._something.set()

    def add_batch(self, sample: Sample) -> None:
        self._skipped += len(self._batches) == BATCHES_MAX
        self._batches.append(sample)

    def batches(self) -> BatchColumns | None:
        """Those since the last call; None: there are none."""
        if not self._batches:
            return None
        columns = columns_of(list(self._batches), self._skipped)
        self._batches.clear()
        self._skipped = 0
        return columns

    def caught_up(self) -> bool:
        return not self._frames

    async def next(self, within_s: float) -> bytes:
        """What to write next; empty where nothing came in time, or the stream is over."""
        with anyio.move_on_after(within_s):
            while not self._frames and not self.closed:
                self._something.clear()
                await self._something.wait()
        return self._frames.popleft() if self._frames else b""

    def close(self) -> None:
        """Let its stream end now, whatever it waits for."""
        self.closed = True
        self._something.set()
        if self.sending:
            self.sending.cancel()


class Live:
    """Everybody who watches."""

    def __init__(self, fleet: Callable[[], Fleet], now_s: Callable[[], float]) -> None:
        self._fleet, self._now_s = fleet, now_s
        self._watchers: set[Watcher] = set()
        self._anybody = asyncio.Event()
        self._last: dict[tuple[str, str], bytes] = {}  # event and whose: the frame that was sent last
        self.closed = False

    def watch(self, key: str, rank: int) -> Watcher | None:
        """A new watcher; None: there are too many. The caller gives it back to `leave`."""
        if len(self._watchers) >= WATCHERS_MAX or self.closed:
            return None
        watcher = Watcher(key, rank)
        self._watchers.add(watcher)
        self._anybody.set()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        if not self._watchers:
            self._anybody.clear()
            self._last = {}

    def fed(self, entry: Entry) -> None:
        """An input was folded: where it is a batch that somebody watches, it is for them."""
        if not self._watchers or (sample := sample_of(entry)) is None:
            return
        for watcher in self._watchers:
            if (watcher.key, watcher.rank) == (sample.run, sample.rank):
                watcher.add_batch(sample)

    def lines_stored(self, lines: list[TimelineLine]) -> None:
        """These lines of the timeline are on disk."""
        for line in lines if self._watchers else ():
            data = frame("timeline", line, line.n)
            for watcher in self._watchers:
                watcher.put(data)

    async def run(self) -> None:
        """Look at the state again and again while anybody watches."""
        while True:
            await self._anybody.wait()
            self.publish()
            await asyncio.sleep(PERIOD_S)

    def publish(self) -> None:
        """What changed since the last time, to everybody; everything, to those who missed some of it."""
        now = self._frames()
        changed = [data for key, data in now.items() if self._last.get(key) != data]
        gone = [frame("gone", {"run": name}) for event, name in self._last.keys() - now.keys() if event == "run"]
        self._last = now
        for watcher in self._watchers:
            if watcher.stale and watcher.caught_up():
                watcher.stale = False
                watcher.put(b"".join([frame("all", {"now_s": self._now_s()}), *now.values()]))
            elif not watcher.stale:
                for data in (*gone, *changed):
                    watcher.put(data)
            if columns := watcher.batches():
                watcher.put(frame("batches", columns))

    def _frames(self) -> dict[tuple[str, str], bytes]:
        """How everything is, by event and whose it is."""
        found = {}
        for name, run in self._fleet().runs.items():
            found["run", name] = frame("run", glance_of(run, self._now_s()))
            for training, incident in incidents_of(run):
                changed = IncidentChanged(name, training.number, incident_of(training, incident))
                found["incident", incident.id] = frame("incident", changed)
        return found

    def close(self) -> None:
        """Every stream ends, and none begins any more."""
        self.closed = True
        for watcher in self._watchers:
            watcher.close()
