"""What is known of a hang: which ranks were asked for their stacks, and the stacks that arrived. Values only."""

from __future__ import annotations

import msgspec

from trainer_hooks.wire.messages import Order, StacksSeen


class Standstill(msgspec.Struct):
    """One hang whose stacks are being taken."""

    generation: int
    count: int  # Counts.batches of the leading rank when it came to rest
    began_s: float
    waiting: dict[int, Order] = {}  # by rank: what is not answered yet
    sent_s: float = 0.0  # when the unanswered ones were last sent
    looked: bool = False  # the supervisor was asked for the stacks of those that don't answer
    reported: bool = False
    unasked: int = 0  # ranks beyond those that are asked
    looks: int = 1  # times they were asked
    places: dict[int, str] = {}  # by rank: the stack of its main thread at the last look that showed one
    still: list[int] = []  # ranks whose main thread stood in the same place at the look before
    stopped: list[int] = []  # ranks whose process was stopped from outside at the last look


class TakenStacks(msgspec.Struct):
    """The stacks of one rank."""

    at_s: float
    generation: int
    rank: int
    count: int  # Counts.batches of the leading rank
    where: str  # "epoch 4, batch 32"
    seen: StacksSeen


class Stacks(msgspec.Struct):
    """Of one training."""

    streak: Standstill | None = None  # the last one
    spent: int = 0  # standstills whose stacks were asked for
    taken: list[TakenStacks] = []  # bounded, oldest first
    dropped: int = 0  # older ones, which gave way
