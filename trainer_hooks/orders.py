"""Orders on their way from the sender thread, which gets them, to the training thread, which carries them out."""

from __future__ import annotations

from collections import deque

from trainer_hooks.wire.exit_codes import EXIT_HELD
from trainer_hooks.wire.messages import Order, Sender
from trainer_hooks.wire.words import OrderKind

STACKS = OrderKind.STACKS  # the kind that the sender thread answers: the training thread may hang
EXIT_CODE = EXIT_HELD  # "try again", which is what the supervisor will do
ORDER_IDS_MAX = 1_000  # remembered for good; an honest daemon sends a handful in a generation, then we stop listening
ORDER_NAME_CHARS_MAX = 200  # an order's id becomes part of a file name of at most 255 bytes


class LeaveTraining(SystemExit):
    """Raised out of the loop on a stop order. A SystemExit, so that a user's `except Exception` lets it pass."""

    def __init__(self, order: Order) -> None:
        super().__init__(EXIT_CODE)
        self.order = order


class OrderInbox:
    """Every order addressed to us, once each. One thread offers, another takes; no lock."""

    def __init__(self, sender: Sender) -> None:
        self.refused = 0  # messages that are unreadable or for another process, orders whose id is not a file name
        self._address = (sender.run, sender.generation, sender.training, sender.rank)
        self._known: set[str] = set()
        self.waiting: deque[Order] = deque()  # orders that nobody took yet, the oldest first

    def offer(self, order: Order) -> bool:
        """Keep the order until it is taken. False: it was here before, or it is not for us (then also counted).

        One of kind STACKS is not kept: whoever offers it answers it.
        """
        if order.id in self._known:
            return False
        if not self._ours(order) or len(self._known) >= ORDER_IDS_MAX:
            self.refused += 1
            return False
        self._known.add(order.id)
        if order.kind != STACKS:
            self.waiting.append(order)
        return True

    def _ours(self, order: Order) -> bool:
        addressed = (order.run, order.generation, order.training, order.rank) == self._address
        return addressed and _names_a_file(order.id) and (not order.plan or _names_a_file(order.plan))


def _names_a_file(name: str) -> bool:
    """Whether a file of that name stays in its folder: ids come from outside and end up in paths."""
    plain = "/" not in name and "\\" not in name and name.isprintable() and not name.startswith(".")
    return plain and 0 < len(name.encode("utf-8", "replace")) <= ORDER_NAME_CHARS_MAX
