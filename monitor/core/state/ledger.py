"""What the policy keeps of one training: it only moves forward, and only the policy writes it. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model import Incident, Position
from monitor.core.state.stacks import Stacks
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Settings


class PendingOrder(msgspec.Struct):
    """An order that nobody has answered yet; it is sent again on ticks. Times are Unix times."""

    order: Order
    since_s: float
    sent_s: float  # the last time
    of_run: bool = False  # a person stops the run: the training that begins next is to stop as well
    batches: int = 0  # of rank 0 when it was sent first: it is answered at the end of a batch


class RunLedger(msgspec.Struct):
    """What is numbered and counted over all trainings of a run."""

    effects: int = 0
    defects: int = 0  # of our own: inputs and diagnoses that raised
    incidents: int = 0
    not_restarted: str = ""  # why the generation that died is the last one, a clause; empty: it is not, or nobody asked


class Counters(msgspec.Struct):
    """What the metrics count."""

    incidents: dict[str, int] = {}  # "<family>/<severity>"
    rollbacks: dict[str, int] = {}  # by outcome
    orders: dict[str, int] = {}  # "<kind>/<outcome>"


class Copies(msgspec.Struct):
    """Digests of checkpoints whose copies the policy examines, keeps or gives up."""

    examining: list[str] = []
    kept: tuple[str, ...] = ()  # of the last KeepCheckpoints
    dropped: dict[str, int] = {}  # by digest, as a set: copies that were not kept


class ActionPlace(msgspec.Struct, frozen=True):
    """Where an action was taken."""

    generation: int
    count: int  # Counts.batches of rank 0


class Restarts(msgspec.Struct):
    """How often a training that died was started again from its newest state, and how it died the last time."""

    count: int = 0
    out_of_memory: int = 0  # of them after an error of the GPU's memory
    target: str = ""  # digest of that state
    way: str = ""  # how it died: an exception's type, a signal's name
    at: Position | None = None


class Ledger(msgspec.Struct):
    """Incidents, budgets and plans of one training."""

    incidents: list[Incident] = []
    counters: Counters = msgspec.field(default_factory=Counters)
    rollbacks_used: int = 0
    last_action: ActionPlace | None = None  # what the cool-down is counted from; None: nothing has to cool down
    in_force: Settings | None = None  # strengthened settings, absolute; None: the user's own
    pending: PendingOrder | None = None
    leaving: bool = False  # an order to stop was obeyed: the exit that follows is no failure
    own_in_force: bool = False  # `in_force` are the script's own settings, which no plan put there
    no_going_back_in: int = 0  # generation whose process could not go back to a state: it is started again; 0: none
    given_up_in: int = 0  # generation that was given up: nothing more is decided for it; 0: none
    suspicion_s: float | None = None  # when the first non-finite batch of this streak came; None: nothing is suspicious
    answered: dict[int, int] = {}  # by rank: Counts.batches up to which non-finite batches have been acted upon
    copies: Copies = msgspec.field(default_factory=Copies)
    warned: dict[str, tuple[int, int]] = {}  # by detector: generation and Counts.batches of its last alert
    stacks: Stacks = msgspec.field(default_factory=Stacks)
    restarts: Restarts = msgspec.field(default_factory=Restarts)

    @property
    def incident(self) -> Incident | None:
        """The live incident; at most one."""
        return next((i for i in reversed(self.incidents) if i.live), None) if self.incidents else None
