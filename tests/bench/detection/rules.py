"""What a contender of the bench is asked: one rule, as somebody published it, over one training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trainer_hooks.wire.messages import BatchEnded, Event


class Rule(Protocol):
    """One published rule at work. A new one is made for each case, so it may remember what it likes.

    It sees rank 0's records in the order in which they arrive. One that raises is switched off for that case
    and told. It is copied by copy.deepcopy where several cases go on from one beginning: plain attributes only.
    """

    name: str
    source: str  # where it is published

    def on_batch(self, batch: BatchEnded) -> bool:
        """True: it alarms on this batch."""
        ...

    def on_event(self, event: Event) -> bool:
        """True: it alarms on this event."""
        ...

    def on_silence(self, waited_s: float) -> bool:
        """Asked once a second while nothing comes. `waited_s`: since the last record. True: it alarms."""
        ...


RuleFactory = Callable[[], Rule]
