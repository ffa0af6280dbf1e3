"""Which frames are taken, and which of their records. Pure: the run folder is looked at by the listener."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from monitor.core.state.run import RunState, Taken
from trainer_hooks.wire.enums import StrEnum
from trainer_hooks.wire.messages import EventSent, Frame, Order, Record, Sender


class StreamKey(NamedTuple):
    """Whose events are numbered on their own, and where an order goes: one rank of one training."""

    run: str
    generation: int
    training: int
    rank: int


def stream_of(address: Sender | Order) -> StreamKey:
    """The stream that a sender speaks for, or that an order is for."""
    return StreamKey(address.run, address.generation, address.training, address.rank)


def last_taken(run: RunState, training: int, rank: int) -> int:
    """The last event of one rank of one training that the core has; 0: none."""
    found = run.trainings.get(training)
    if found is None or found.generation != run.generation:
        return 0
    known = found.ranks.get(rank)
    return known.event_seq if known else found.taken.get(rank, Taken()).event_seq


def batches_taken(run: RunState, training: int, rank: int) -> int:
    """Counts.batches of one rank of one training, as the core knows it; 0: nothing."""
    found = run.trainings.get(training)
    if found is None or found.generation != run.generation:
        return 0
    known = found.ranks.get(rank)
    return (known.counts if known else found.taken.get(rank, Taken()).counts).batches


class Standing(StrEnum):
    """How a frame's sender stands to what the core knows."""

    CURRENT = "current"
    UNKNOWN_RUN = "unknown run"
    NEWER = "newer generation"  # true only if the run folder says the same
    OLDER = "older generation"
    STRANGER = "another launch"  # the right generation, the wrong nonce


class Selection(msgspec.Struct, frozen=True):
    """What is taken of a frame."""

    records: tuple[Record, ...]
    seen: (
        int | None
    )  # every event up to this one is taken, to be acknowledged after the commit; None: no event in the frame


def standing(sender: Sender, run: RunState | None) -> Standing:
    """Where a sender stands. Two processes of one generation can't both be right: the nonce says which."""
    if run is None:
        return Standing.UNKNOWN_RUN
    if sender.generation > run.generation:
        return Standing.NEWER
    if sender.generation < run.generation:
        return Standing.OLDER
    return Standing.CURRENT if sender.nonce == run.nonce else Standing.STRANGER


class EventOrder:
    """Takes each event of a stream once and in order, over lost and repeated frames.

    A hook sends its unacknowledged events again, oldest first. So an event that comes too early is left for that; where
    the same one leads a second time, the hook no longer has what came before it, and the gap is real.
    """

    def __init__(self) -> None:
        self._early: dict[StreamKey, int] = {}

    def select(self, frame: Frame, taken: int) -> Selection:
        """The frame's records that are new; `taken` is the last event of this stream that the core has."""
        key = stream_of(frame.sender)
        records: list[Record] = []
        asked = False
        for record in frame.records:
            if not isinstance(record, EventSent):
                records.append(record)
                continue
            asked = True
            if self._due(key, record.seq, taken):
                records.append(record)
                taken = record.seq
        return Selection(tuple(records), taken if asked else None)

    def _due(self, key: StreamKey, seq: int, taken: int) -> bool:
        if seq <= taken:
            return False
        if seq == taken + 1 or self._early.get(key) == seq:
            self._early.pop(key, None)
            return True
        self._early[key] = min(seq, self._early.get(key, seq))
        return False
