"""The closed set of messages between a training process and the daemon. Values only: no socket, file or clock.

A message a peer does not know is refused and counted, never guessed. Every struct is positional on the wire
(`array_like`), so a new field goes last and needs a default: an older reader ignores it, a newer one fills it in.
"""

from __future__ import annotations

from enum import IntFlag

import msgspec

from trainer_hooks.wire.enums import StrEnum

PROTOCOL = 1


class Nonfinite(IntFlag):
    """Where a NaN or an infinity was seen in one batch. Bits, because one batch often shows several."""

    LOSS = 1
    GRADIENT = 2
    PARAMETER = 4
    BUFFER = 8


class SkippedBy(StrEnum):
    """Who dropped an optimizer step. An empty string on the wire means nobody did."""

    NOBODY = ""
    GUARD = "guard"
    SCALER = "scaler"
    SCRIPT = "script"  # the training's own code found it and took no step


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Totals of one rank of a training in one generation; cumulative: a lost or repeated frame changes nothing."""

    batches: int = 0
    steps: int = 0  # optimizer steps attempted, skipped ones included
    nonfinite_batches: int = 0  # batches with any Nonfinite bit, isolated scaler overflows left out
    nonfinite_loss: int = 0
    nonfinite_gradient: int = 0
    nonfinite_parameter: int = 0
    nonfinite_buffer: int = 0
    skipped_by_guard: int = 0
    skipped_by_scaler: int = 0
    scaler_overflows: int = 0  # isolated: loss finite, buffers clean, the scale halved. Normal.
    samples_lost: int = 0  # samples of the good micro-batches that a skipped step threw away with the bad one
    hook_errors: int = 0
    records_dropped: int = 0
    messages_refused: int = 0  # of the daemon: unreadable, for another process, or an order whose id is not a file name
    copies_lost: int = 0  # of checkpoints: a newer one came before it was copied, or nobody adopted the copy in time
    skipped_by_script: int = 0  # steps that the training's own code left out after a non-finite batch

    @property
    def skipped(self) -> int:
        """Optimizer steps left out, by whomever."""
        return self.skipped_by_guard + self.skipped_by_scaler + self.skipped_by_script


class BatchEnded(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One rank has ended one batch.

    None means: not known on this batch (no optimizer step, no GPU, no such setting).
    """

    wall_s: float  # Unix time, for people
    sent_s: float  # sender's monotonic clock: comparable within one rank and generation only
    epoch: int  # as the framework prints it: from 1
    batch: int  # within the epoch, from 0
    batches_per_epoch: int
    counts: Counts  # after this batch
    loss: float | None = None  # the value the trainer differentiates, before any cure; may be NaN
    parts: tuple[float, ...] = ()  # the named components of TrainingStarted.part_names, in that order
    grad_norm: float | None = None  # L2, before clipping, unscaled; None where the batch took no optimizer step
    nonfinite: int = 0  # bits of Nonfinite
    skipped_by: str = ""  # SkippedBy
    cured: bool = False  # True: the guard restored what this batch damaged; the state behind it is clean
    learning_rates: tuple[float, ...] = ()  # what each parameter group really used, in group order
    momentum: float | None = None
    weight_decay: float | None = None  # of the group that decays most
    clip_norm: float | None = None
    loss_scale: float | None = None
    batch_size: int | None = None
    image_size: int | None = None  # pixels, the longer side
    instances: int | None = None
    instances_max: int | None = None  # the most of any one image
    memory_allocated: int | None = None  # bytes, caching allocator of this rank's device
    memory_reserved: int | None = None
    memory_peak: int | None = None
    alloc_retries: int | None = None
    batch_s: float | None = None  # from the end of the batch before to the end of this one
    data_wait_s: float | None = None  # the part of it that waited for the loader
    ramp: float | None = None  # 0..1: how far our own warm-up has come; None: no ramp is on
    onset_samples_left: int | None = None  # of Plan.onset_samples, how many this generation has not met yet
    sequence_length: int | None = None  # tokens, the longest of the batch
    update_ratio: float | None = None  # |change of the weights| / |weights| of one step, of some tensors; sampled


class TrainingStarted(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """The trainer is built and about to draw its first batch.

    Sent once more, the same but for `part_names`, where the trainer learns them from its first batch.
    """

    wall_s: float
    framework: str  # Framework.name
    versions: dict[str, str]  # framework, torch, cuda, hip (AMD alone), python, trainwarden
    settings: dict[str, str]  # every hyperparameter, as text
    part_names: tuple[str, ...]
    group_names: tuple[str, ...]  # of the optimizer's parameter groups; unnamed ones are "group<i>"
    group_rates: tuple[float, ...]  # each group's own base rate (initial_lr), aligned with group_names
    epochs: int
    start_epoch: int  # the first one this generation will run, from 1
    batches_per_epoch: int
    world_size: int
    ordinal: int  # which train() of this process: 1 for the first
    save_dir: str
    run_folder: str
    pid: int
    device: str
    arguments_digest: str  # sha256 of the arguments that name this training
    plan_id: str = ""  # the plan this generation started from; empty: none
    guarded: bool = True
    scaler_enabled: bool = False
    base_weight_decays: tuple[float, ...] = ()  # per group
    samples: int = 0  # in the training set, of every rank together; 0: not known
    goes_back: bool = False  # it can go back to a snapshot without a new process
    keeps_position: bool = False  # its loop goes on where it is: only its state goes back, if anything does


class NonfiniteSeen(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Evidence for one non-finite batch; sent for the first EVIDENCE_MAX of a generation, counted afterwards."""

    wall_s: float
    epoch: int
    batch: int
    nonfinite: int
    loss: float | None
    parts: tuple[float, ...]
    grad_norm: float | None
    cured: bool
    samples: tuple[str, ...]  # names of the batch's samples, as the framework gives them
    samples_partial: bool  # True where the names cover only part of the batch (mosaic, mixup)
    first_bad: str  # the first buffer, parameter or gradient found non-finite; empty: none looked at or none bad


class SettingChanged(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A hyperparameter has another value than one batch ago, for a reason outside its schedule."""

    wall_s: float
    epoch: int  # 0: where the rank is when this comes
    batch: int
    name: str  # "accumulate", "batch_size", "clip_norm", "learning_rate/bias", "mosaic", ...
    old: str
    new: str
    reason: str  # "warm-up ended", "mosaic closed", "plan", ...; empty: unexplained


class PhaseChanged(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """What the trainer is busy with from now on."""

    wall_s: float
    epoch: int
    phase: str  # words.Phase


class EpochEnded(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """One epoch is trained and validated."""

    wall_s: float
    epoch: int
    seconds: float
    parts: tuple[float, ...]  # mean of each component over the epoch, as the framework reports it
    metrics: dict[str, float]
    fitness: float | None
    redone: bool = False  # True: the framework's own recovery threw this epoch away and will redo it


class CheckpointSaved(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """The trainer saved, and the copy lies in the spool of the run folder with a manifest beside it."""

    wall_s: float
    manifest: str  # file name in the spool
    epoch: int
    digest: str  # sha256 of the copy, hex
    torn: bool = False  # True: every try was torn; there is no copy and manifest is empty
    extra_batches: int = 0  # of the epoch after `epoch`, which it holds as well; above 0: it is a snapshot of ours


class OrderApplied(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """A trainer's answer to an order; the receipt file in the run folder says the same and outlives the process."""

    wall_s: float
    order_id: str
    outcome: str  # words.OrderOutcome: APPLIED, REFUSED, DECLINED, HEALED or FAILED
    detail: str
    epoch: int
    batch: int
    read_back: dict[str, str]


class PlanApplied(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """A generation that started from a plan reports what each setting really is.

    Sent at its first step and at the ramp's end.
    """

    wall_s: float
    plan_id: str
    when: str  # words.ReadBack
    start_epoch: int  # from 1
    read_back: dict[str, str]
    mismatches: tuple[str, ...]  # sentences; empty: every value read back is the plan's


class TrainingEnded(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """train() is over in this process."""

    wall_s: float
    how: str  # words.TrainingEnd
    detail: str
    epoch: int
    metrics: dict[str, float]


class HookTrouble(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """A hook failed open: which, with what error, and whether it is switched off now."""

    wall_s: float
    hook: str
    error: str
    switched_off: bool
    lost: str = (
        ""  # what is not done any more, where that is part of the watch itself; empty: it is switched on, or minor
    )


class StacksSeen(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """What every thread of a process is doing: the answer to an Order of kind "stacks"."""

    wall_s: float
    order_id: str
    phase: str  # the last PhaseChanged of this process; empty: it declares none
    waited_s: float  # since this process's last record
    how: str  # who looked: "hook"
    threads: tuple[str, ...]  # one text each, the main thread first; innermost frame last; no values of variables
    stopped: bool = False  # by a signal or a debugger (SIGSTOP, Slurm's suspend): it can't go on until it is continued


Event = (
    TrainingStarted
    | NonfiniteSeen
    | SettingChanged
    | PhaseChanged
    | EpochEnded
    | CheckpointSaved
    | OrderApplied
    | PlanApplied
    | TrainingEnded
    | HookTrouble
    | StacksSeen
)


class EventSent(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """An event that must arrive.

    `seq` counts from 1 within (run, generation, training, rank); sent again until it is acknowledged.
    """

    seq: int
    body: Event


Record = BatchEnded | EventSent


class Sender(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks. A frame whose generation is not the run's current one is refused and counted."""

    run: str
    generation: int
    rank: int
    nonce: str  # of this launch; every rank of one launch has the same
    training: int = 1  # of the run, from 1; see runfolder.TrainingClaim


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Hook to daemon: at most FRAME_RECORDS records, in the order they happened."""

    protocol: int
    sender: Sender
    sequence: int  # of the frame, from 0
    records: tuple[Record, ...]
    checksum: int | None = None  # CRC-32 of the frame's bytes before it; None: written before this field existed


class EventsSeen(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """Daemon to hook: every event up to and including `seq` is committed. The hook may forget them."""

    generation: int
    rank: int
    seq: int
    training: int = 1


class Order(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """Daemon to hook: do this at the next batch boundary. Sent again until its OrderApplied arrives; carried out once.

    One of kind "stacks" waits for no boundary: the hook's own thread answers it at once, with StacksSeen.
    """

    id: str
    run: str
    generation: int
    rank: int
    kind: str  # words.OrderKind
    plan: str  # file name in the run folder, or empty (a stop without a relaunch)
    reason: str
    training: int = 1


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """Daemon to hook: this frame was not taken, and why."""

    reason: str


Downlink = EventsSeen | Order | Refused
