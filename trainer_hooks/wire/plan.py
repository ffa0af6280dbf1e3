"""What a generation starts from or a running training changes to, and the receipt of what became of it."""

from __future__ import annotations

import msgspec


class GroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute values for one parameter group, by its index. Never factors: applied twice they are still the same."""

    name: str
    base_rate: float  # initial_lr and base_lrs
    rate_max: float | None  # the rate this group must not pass while the ramp is on; None: no cap
    weight_decay: float


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The strengthened settings of a plan."""

    groups: tuple[GroupSettings, ...]
    clip_norm: float
    momentum: float
    ramp_batches: int  # our own warm-up: every group's rate is multiplied by (batch + 1) / ramp_batches until it is 1
    warmup_epochs: float  # what `warmup_epochs` reads from now on
    learning_rate: float  # what `lr0` reads from now on
    weight_decay: float  # what `weight_decay` reads from now on (unscaled, as the user writes it)
    more: dict[str, float] = {}  # further settings of the trainer, by its own names


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of "what is different from now on", as people read it."""

    setting: str
    old: str
    new: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint file to start from."""

    path: str  # absolute
    digest: str  # sha256, hex
    epoch: int  # the last epoch it holds, from 1; 0: a snapshot within the first one
    extra_batches: int = 0  # of the epoch after that; above 0: a snapshot

    @property
    def holds(self) -> tuple[int, int]:
        """How much training it holds: whole epochs, and batches of the next one."""
        return self.epoch, self.extra_batches


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to start from, and with which settings. Applied to one training, once."""

    version: int = 1
    id: str
    run: str
    generation: int  # the generation that starts from it (a relaunch), or that applies it in place
    kind: str  # words.PlanKind
    order: str  # the order that asks the present generation to leave
    incident: str
    reason: str
    ordinal: int  # which train() of the process it is for
    arguments_digest: str  # of that training; empty: not known, only the ordinal is compared
    save_dir: str
    checkpoint: Checkpoint | None  # None for "adjust"
    best: Checkpoint | None  # the best checkpoint that belongs to that state; None: there was none
    start_epoch: int  # from 1
    settings: Settings
    changes: tuple[Change, ...]
    seed_offset: int  # added to the seed, so that a resumed epoch does not draw an earlier epoch's batches
    onset_samples: tuple[str, ...]  # names of the samples in the first non-finite batches
    grace_s: float  # how long the present generation may take to leave before it is made to
    written_s: float
    training: int = 1  # which training of the run it is for
    framework: str = ""  # TrainingStarted.framework of that training; empty: a plan from before this was written
    snapshot: Checkpoint | None = None  # to go on from within `start_epoch`, above `checkpoint`; None: from its start
    in_process: bool = False  # the present generation goes back to the state, without a new process
    replay: bool = False  # True: the trouble was not in the numbers, so the same batches are drawn again
    own_settings: bool = False  # True: `settings` are the script's own, which are in force by themselves
    for_nonfinite: bool = False  # True: the trouble is numbers that are not finite; where they are, it is not needed

    @property
    def target(self) -> Checkpoint | None:
        """The saved state that it goes back to; None: it goes back to none."""
        return self.snapshot or self.checkpoint


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order: the file that, with the plan, decides a relaunch."""

    order: str
    generation: int
    outcome: str  # words.OrderOutcome
    detail: str
    epoch: int
    batch: int
    read_back: dict[str, str]
    written_s: float
    training: int = 1  # whose order it was
