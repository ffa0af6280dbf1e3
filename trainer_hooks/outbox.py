"""What waits to be sent: a ring of records that may be lost, and events that may not. Memory only: no I/O, no clock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from trainer_hooks.wire.codec import FRAME_RECORDS, WireError, encode
from trainer_hooks.wire.messages import (
    PROTOCOL,
    BatchEnded,
    CheckpointSaved,
    Event,
    EventSent,
    Frame,
    OrderApplied,
    PlanApplied,
    Record,
    Sender,
    TrainingEnded,
    TrainingStarted,
)

RING_RECORDS = (
    8_000  # a full BatchEnded is 1,040 B of Python objects (tracemalloc): 8 MB, 20 minutes at 7 batches a second
)
EVENTS_MAX = 4_096  # unacknowledged; a training sends some ten in an epoch
EVENTS_RESERVED = 512  # of them, for events a rollback depends on
NEWEST_LOOKED_AT_MAX = 256  # entries of the ring: behind its last batch come the few events of a training's end
EVENTS_REPEATED_MAX = 16  # unacknowledged events that go out again before a new one: acks take about 50 ms

Batch = BatchEnded | Callable[[], BatchEnded]  # or what makes it, later and on another thread
_VITAL = (TrainingStarted, CheckpointSaved, OrderApplied, PlanApplied, TrainingEnded)


class Outbox:
    """Filled by the training thread (and, with events, by any other); emptied by the one sender thread.

    An event has its place among the records, so that what is sent first happened first; it is kept beside them until it
    is acknowledged. Events always leave as a row without gaps that begins after the last acknowledged one.
    """

    def __init__(self, records_max: int = RING_RECORDS) -> None:
        self.events_refused = 0  # the lane was full
        self.unmade = 0  # batches whose making raised
        self.unmade_why = ""  # the last of these errors
        self._ring: deque[EventSent | Batch] = deque(maxlen=records_max)
        self._batches_offered = 0  # written by the training thread only
        self._events_offered = 0  # written under the lock only
        self._taken = 0  # written by the sender thread only
        self._dropped = 0
        self._lock = threading.Lock()  # never taken on the step path
        self._unacknowledged: deque[EventSent] = deque()
        self._last_seq = 0
        self._spooled_seq = 0
        self._held_back = False

    def batch(self, record: Batch) -> None:
        """The step path: one append. What is given as a function is called by `take`."""
        self._ring.append(record)
        self._batches_offered += 1

    def event(self, body: Event) -> bool:
        """Number the event and keep it until it is acknowledged. False: too many wait, it is lost and counted."""
        limit = EVENTS_MAX if isinstance(body, _VITAL) else EVENTS_MAX - EVENTS_RESERVED
        with self._lock:
            if len(self._unacknowledged) >= limit:
                self.events_refused += 1
                return False
            self._last_seq += 1
            event = EventSent(self._last_seq, body)
            self._unacknowledged.append(event)
            self._ring.append(event)
            self._events_offered += 1
        return True

    @property
    def dropped(self) -> int:
        """Entries that fell out of the full ring: exact while the sender rests, never too high, never falling."""
        offered = self._batches_offered + self._events_offered  # first: what comes in between can only lower the result
        waiting = len(self._ring)
        self._dropped = max(self._dropped, offered - waiting - self._taken)
        return self._dropped

    @property
    def empty(self) -> bool:
        """True: no record waits in the ring."""
        return not self._ring

    def newest(self) -> BatchEnded | None:
        """The newest batch that waits in the ring; None: none does, or it can't be made. For the sender's thread."""
        try:
            for place in range(1, min(len(self._ring), NEWEST_LOOKED_AT_MAX) + 1):
                found = self._ring[-place]
                if not isinstance(found, EventSent):
                    return found if isinstance(found, BatchEnded) else found()
        except Exception:  # noqa: BLE001 - an integration's code, as in `_make`
            return None
        return None

    @property
    def acknowledged(self) -> bool:
        """True: no event waits for its acknowledgement."""
        return not self._unacknowledged

    def take(self) -> list[Record]:
        """The oldest records, at most FRAME_RECORDS entries of the ring, events with those they must not overtake."""
        records: list[Record] = []
        row_end = 0
        for _ in range(min(FRAME_RECORDS, len(self._ring))):
            self._taken += 1  # before the record leaves: `dropped` must not count it
            record = self._ring.popleft()
            if isinstance(record, EventSent):
                row = self._row(row_end, record.seq)
                records.extend(row)
                row_end = row[-1].seq if row else row_end
            elif isinstance(record, BatchEnded):
                records.append(record)
            else:
                self._make(record, records)
        return records

    def _make(self, record: Callable[[], BatchEnded], records: list[Record]) -> None:
        try:
            records.append(record())
        except Exception as error:  # noqa: BLE001 - an integration's code; its neighbours must not be lost with it
            self.unmade += 1
            self.unmade_why = f"{type(error).__name__}: {error}"

    def unacknowledged(self) -> list[EventSent]:
        """The first events that wait, to be sent again; at most FRAME_RECORDS: their acknowledgement frees more."""
        with self._lock:
            self._held_back = len(self._unacknowledged) > FRAME_RECORDS
            return [self._unacknowledged[i] for i in range(min(FRAME_RECORDS, len(self._unacknowledged)))]

    def unspooled(self) -> list[EventSent]:
        """Events that were not given out by this method before."""
        with self._lock:
            fresh = [event for event in self._unacknowledged if event.seq > self._spooled_seq]
            self._spooled_seq = self._last_seq
            return fresh

    def acknowledge(self, seq: int) -> bool:
        """Forget the events up to and including `seq`. True: others were held back until now and should go out."""
        with self._lock:
            while self._unacknowledged and self._unacknowledged[0].seq <= seq:
                self._unacknowledged.popleft()
            held_back, self._held_back = self._held_back, False
            return held_back and bool(self._unacknowledged)

    def _row(self, after_seq: int, seq: int) -> list[EventSent]:
        """The unacknowledged events after `after_seq` up to `seq`; none where they are too many to repeat."""
        with self._lock:
            if not self._unacknowledged:
                return []
            first = self._unacknowledged[0].seq
            start, stop = max(0, after_seq + 1 - first), seq + 1 - first
            if stop - start > EVENTS_REPEATED_MAX:
                self._held_back = True
                return []
            return [self._unacknowledged[i] for i in range(start, stop)]


class Packer:
    """Records into frames of one sender, each below the limit of the wire."""

    def __init__(self, sender: Sender) -> None:
        self.unsendable = 0  # records that the wire can't carry, or longer than a frame
        self.unsendable_why = ""  # of the last one
        self.address = (sender.generation, sender.training, sender.rank)
        self._sender = sender
        self._sequence = 0

    def pack(self, records: Sequence[Record]) -> list[bytes]:
        """Frames with all the records in their order. What can't be encoded is left out and counted, never raised."""
        if not records:
            return []
        if len(records) > FRAME_RECORDS:
            return self._pack_halves(records)
        try:
            data = encode(Frame(PROTOCOL, self._sender, self._sequence, tuple(records)))
        except (WireError, TypeError, ValueError, OverflowError) as error:
            if len(records) > 1:
                return self._pack_halves(records)
            self.unsendable += 1
            self.unsendable_why = f"{type(error).__name__}: {error}"
            return []
        self._sequence += 1
        return [data]

    def _pack_halves(self, records: Sequence[Record]) -> list[bytes]:
        """Halving finds both the size that fits and the one record that never will."""
        middle = len(records) // 2
        return self.pack(records[:middle]) + self.pack(records[middle:])
