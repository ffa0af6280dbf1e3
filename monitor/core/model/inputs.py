"""What goes into the core: the closed union `Input`, and the journal's line around it. Values only."""

from __future__ import annotations

import msgspec

from monitor.core.model.nouns import Verdict
from trainer_hooks.wire.enums import StrEnum
from trainer_hooks.wire.messages import Record, StacksSeen
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit, Manifest, RunOutcome, RunSpec


class RunOpened(msgspec.Struct, frozen=True, tag="run_opened"):
    """A run is announced (by its supervisor, or by the first frame of an unannounced one).

    Opening it again changes nothing.
    """

    spec: RunSpec
    policy: str  # the effective policy as JSON; monitor.core.policy.settings.Policy
    kept: bytes = b""  # the state of a run that ended and was forgotten, as MessagePack; empty: it is a new one


class GenerationStarted(msgspec.Struct, frozen=True, tag="generation_started"):
    """The supervisor started the training's process. Without one the first frame says it instead."""

    run: str
    number: int
    nonce: str
    pid: int
    supervisor_pid: int = msgspec.field(name="shim_pid")  # its name in every journal since the first version


class GenerationExited(msgspec.Struct, frozen=True, tag="generation_exited"):
    """The training's process is gone, with all its descendants. What that means: monitor.core.model.outcomes."""

    run: str
    exit: Exit
    relaunch: bool  # True: the supervisor is about to start the next generation from its plan
    with_machine: bool = False  # the machine was started again meanwhile, so that no process of it can be left


class GenerationDied(msgspec.Struct, frozen=True, tag="generation_died"):
    """The training's process has ended by no order, and the supervisor waits for a plan. GenerationExited follows."""

    run: str
    exit: Exit
    crash: str  # the exception that ended its last training; empty: there was none, or it was not reported
    until_s: float  # Unix time: later nobody waits for a plan any more
    asked_by: str = ""  # the person who resumes the run; empty: nobody asked
    with_machine: bool = False  # the machine was started again meanwhile


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended"):
    """The supervisor will start nothing more."""

    run: str
    how: RunOutcome
    detail: str


class SupervisorChanged(msgspec.Struct, frozen=True, tag="shim_changed"):
    """The supervisor of a run is gone (pid 0), or another one took over."""

    run: str
    supervisor_pid: int = msgspec.field(name="shim_pid")
    with_training: bool = False  # the training's process is gone as well, which is an input of its own


class TrainingVanished(msgspec.Struct, frozen=True, tag="training_vanished"):
    """The process of one training is gone, which reported no end, while its run goes on: it was killed."""

    run: str
    generation: int
    training: int
    pid: int


class RecordArrived(msgspec.Struct, frozen=True, tag="record"):
    """A record of the run's current generation, in the order of its rank."""

    run: str
    generation: int
    rank: int
    record: Record
    training: int = 1  # of the run, from 1


class CommandKind(StrEnum):
    """What an operator can ask of a run."""

    STOP = "stop"
    ROLLBACK = "rollback"
    ADJUST = "adjust"  # strengthened settings, in place


class CommandGiven(msgspec.Struct, frozen=True, tag="command"):
    """An operator asks for something."""

    run: str
    kind: CommandKind
    by: str


class IncidentAcknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """A person has seen an incident: no reminders of it are sent any more."""

    run: str
    incident: str  # its id
    by: str


class SilenceSet(msgspec.Struct, frozen=True, tag="silence"):
    """No alert that matches is sent until the end. One with the same id replaces it: an earlier end lets it expire."""

    id: str
    match: tuple[str, ...]  # label=pattern; see alerts.matching
    from_s: float  # Unix time
    until_s: float
    by: str
    comment: str = ""


class CheckpointExamined(msgspec.Struct, frozen=True, tag="examined"):
    """Result of ExamineCheckpoint."""

    run: str
    manifest: Manifest
    path: str  # where the adopted copy lies; empty: it could not be adopted
    verdict: Verdict  # SOUND, POISONED or UNVERIFIED
    reasons: tuple[str, ...]  # sentences
    seconds: float
    name: str = ""  # of the manifest's file; empty: there was none to read


class PlanWritten(msgspec.Struct, frozen=True, tag="plan_written"):
    """Result of WritePlan."""

    run: str
    plan: str
    error: str  # empty: it is on disk


class ReceiptFound(msgspec.Struct, frozen=True, tag="receipt"):
    """A receipt lies in the run folder (the supervisor saw it, or recovery did)."""

    run: str
    receipt: Receipt


class AlertSettled(msgspec.Struct, frozen=True, tag="alert_settled"):
    """A receiver took an alert, or refused it for good."""

    run: str
    alert: str
    receiver: str
    outcome: str  # "delivered", "refused", "expired"


class FramesRefused(msgspec.Struct, frozen=True, tag="frames_refused"):
    """Frames of a run that were not taken since the last such input."""

    run: str
    count: int
    reason: str


class HostSeen(msgspec.Struct, frozen=True, array_like=True):
    """Memory of the host, bytes. `training_rss`: of the run's processes; None: none of them can be read."""

    available: int
    total: int
    training_rss: int | None = None


class VolumeSeen(msgspec.Struct, frozen=True, array_like=True):
    """A file system that the run writes to, bytes. `free` is what its user may still write."""

    name: str  # what lies on it: "run folder", "save_dir"
    free: int
    total: int


class GpuSeen(msgspec.Struct, frozen=True, array_like=True):
    """One device of the run, as its driver tells it. None: it does not say."""

    index: int
    memory_total: int | None = None  # bytes
    temperature_celsius: int | None = None
    slowdown_celsius: int | None = None  # at which the device slows itself down
    power_limit_milliwatts: int | None = None  # in force
    throttle_bits: int | None = None  # NVML's clocks event reasons
    ecc_uncorrected: int | None = None  # over the device's life
    rows_uncorrectable: int | None = None  # remapped for an uncorrectable error, likewise
    rows_failed: bool = False  # a row could not be remapped any more
    xids: tuple[tuple[int, int], ...] = ()  # (number, times since the daemon started)
    trouble: str = ""  # the first error that is more than "not supported"


class HardwareSeen(msgspec.Struct, frozen=True, tag="hardware"):
    """What host, volumes and GPUs say for one run. Sent when it changed, and now and then when it did not."""

    run: str
    host: HostSeen | None = None
    volumes: tuple[VolumeSeen, ...] = ()
    gpus: tuple[GpuSeen, ...] | None = None  # None: nobody can tell now, or the run uses none
    nvml: str = ""  # why no GPU can be read, whoever made it; empty: they can, or the run uses none
    driver_hangs: bool = False  # the driver has answered before, and does not any more


class StacksTaken(msgspec.Struct, frozen=True, tag="stacks_taken"):
    """Result of LookAtTraining."""

    run: str
    generation: int
    rank: int
    seen: StacksSeen


class Tick(msgspec.Struct, frozen=True, tag="tick", omit_defaults=True):
    """Time has passed."""

    asleep_s: float = 0.0  # of it, nobody looked: the machine was suspended, or the daemon was stopped


Input = (
    RunOpened
    | GenerationStarted
    | GenerationExited
    | GenerationDied
    | RunEnded
    | SupervisorChanged
    | TrainingVanished
    | RecordArrived
    | CommandGiven
    | IncidentAcknowledged
    | SilenceSet
    | CheckpointExamined
    | PlanWritten
    | ReceiptFound
    | AlertSettled
    | FramesRefused
    | HardwareSeen
    | StacksTaken
    | Tick
)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the journal."""

    seq: int
    now_s: float  # Unix time that never goes back
    input: Input
