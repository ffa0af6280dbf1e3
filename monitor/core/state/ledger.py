"""What the policy keeps of one training: it only moves forward, and only the policy writes it. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Incident
from monitor.core.state.stacks import Stacks
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.runfolder import Settings


class PendingOrder(msgspec.Struct):
    """An order that nobody has answered yet; it is sent again on ticks. Times are Unix times."""

    order: Order
    since_s: float
    sent_s: float  # the last time
    of_run: bool = False  # a person stops the run: the training that begins next is to stop as well


class RunLedger(msgspec.Struct):
    """What is numbered and counted over all trainings of a run."""

    effects: int = 0
    defects: int = 0  # of our own: inputs and diagnoses that raised
    incidents: int = 0


class Ledger(msgspec.Struct):
    """Incidents, budgets and plans of one training."""

    incidents: list[Incident] = []
    incidents_opened: dict[str, int] = {}  # "<family>/<severity>"
    rollbacks_used: int = 0
    rollbacks: dict[str, int] = {}  # by outcome
    orders: dict[str, int] = {}  # "<kind>/<outcome>"
    last_action_count: int = -1  # Counts.batches of `last_action_generation` at the last action; -1: none
    last_action_generation: int = 0
    in_force: Settings | None = None  # strengthened settings, absolute; None: the user's own
    pending: PendingOrder | None = None
    leaving: bool = False  # an order to stop was obeyed: the exit that follows is no failure
    suspicion_s: float | None = None  # when the first non-finite batch of this streak came; None: nothing is suspicious
    answered: dict[int, int] = {}  # by rank: Counts.batches up to which non-finite batches have been acted upon
    examining: list[str] = []  # digests of the checkpoints that are being examined
    kept: tuple[str, ...] = ()  # digests of the last KeepCheckpoints
    dropped: dict[str, int] = {}  # digests of the copies that were not kept: what of them was asked to go
    warned: dict[str, tuple[int, int]] = {}  # by detector: generation and Counts.batches of its last alert
    stacks: Stacks = msgspec.field(default_factory=Stacks)

    @property
    def incident(self) -> Incident | None:
        """The live incident; at most one."""
        return next((i for i in reversed(self.incidents) if i.live), None) if self.incidents else None
