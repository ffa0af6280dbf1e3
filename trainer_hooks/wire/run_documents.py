"""The documents of a run folder, but for plans: what was asked for, and what each process said of itself."""

from __future__ import annotations

import msgspec

from trainer_hooks.wire.enums import StrEnum


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What `trainwarden run` was asked for. Written once, before the first generation."""

    run: str  # matches RUN_ID
    title: str = ""  # what the user called it, any text; never used as a path
    argv: tuple[str, ...]
    cwd: str
    created_s: float
    act: bool  # False: observe only
    deadline_s: float | None = None  # Unix time
    interpreter: str = ""  # the Python that runs the training, where known
    snapshot_s: float = 0.0  # seconds between two snapshots within an epoch; 0: none are taken


class RunEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The variables that the run's command was started with; see monitor.supervisor.recorded_environment."""

    variables: dict[str, str]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One process life of a run, from 1."""

    number: int
    nonce: str
    allocated_by: str  # "supervisor" or "hook"
    pid: int = 0  # of the training's first process; 0: not started yet
    start_ticks: int = 0  # field 22 of /proc/<pid>/stat: with pid and boot_id it names the process for good
    boot_id: str = ""
    started_s: float = 0.0
    supervisor_pid: int = msgspec.field(default=0, name="shim_pid")  # its name on disk since the first version


class GenerationOutcome(StrEnum):
    """What the end of a generation means. Decided by monitor.core.model.outcomes and by nobody else."""

    FINISHED = "finished"  # the command ended with exit code 0, or after its training had finished
    STOPPED = "stopped"  # it carried out an order to stop or to go back
    INTERRUPTED = "interrupted"  # a person or the system asked for the end: Ctrl-C, SIGTERM
    KILLED = "killed"  # it did not leave in time, and the supervisor ended it by signals
    FAILED = "failed"  # it ended by itself, with another exit code than 0 or by a signal
    UNKNOWN = "unknown"  # it was not the supervisor's child, so nobody can read its exit code


class RunOutcome(StrEnum):
    """Why the supervisor starts nothing more for a run."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"  # an order or a person ended it
    HELD = "held"  # the next generation can't be started safely: a person has to look


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a generation's process ended."""

    number: int
    code: int | None  # exit status; None where a signal ended it or nobody could learn it
    signal: int | None
    ended_s: float
    escalation: str = ""  # "", "SIGTERM" or "SIGKILL": the last thing the supervisor had to do
    asked: bool = False  # True: a person or the system asked for the end (Ctrl-C, SIGTERM): nothing has failed
    outcome: GenerationOutcome | None = None  # None: written before this field existed, or by nobody who could know


class RunOver(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor starts nothing more for this run."""

    how: RunOutcome
    detail: str
    code: int
    ended_s: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook knew when it copied a checkpoint. Lies beside the copy and is renamed into place last."""

    version: int = 1
    run: str
    generation: int
    rank: int
    ordinal: int
    serial: int  # counts the copies of this rank and generation, from 1
    file: str  # name of the copy in the spool
    source: str  # absolute path of the trainer's file
    digest: str  # sha256 of the copy, hex
    size: int
    epoch: int  # the last epoch the checkpoint holds, from 1
    batches: int  # Counts.batches when it was saved
    nonfinite_batches: int  # Counts.nonfinite_batches when it was saved
    is_best: bool
    saved_s: float
    state_finding: str = ""  # what a scan of the live model found just before the save; empty: nothing
    fitness: float | None = None
    training: int = 1
    resumed: bool = False  # True: this training did not save it, it was resumed from it
    extra_batches: int = 0  # of the epoch after `epoch`, which it holds as well; above 0: a snapshot
    startable: bool = False  # of a hand-written loop: its script asks where to start, and can go on from it


class TrainingClaim(msgspec.Struct, frozen=True, kw_only=True):
    """One rank of one training of a run has begun, and this is its number. Written once, never changed."""

    number: int  # of the training within the run, from 1; every rank of one job has the same
    generation: int
    pid: int
    parent_pid: int
    position: int  # this is the n-th training of its process, from 1
    call_site: str  # "file:line" of the user's train() or watch() call; empty: not known
    arguments_digest: str  # sha256 of the arguments of that call, hex; empty: not known
    job: str  # the same text for every rank of one process group, and for no other training; empty: one process alone
    rank: int
    claimed_s: float


class HangDumpFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look into a training that can't answer: see trainer_hooks.hang_dump."""

    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat
    thread: int  # kernel id of the hook's own thread: the one that may be signalled
    main_thread: int  # ident of the main thread, as faulthandler prints it
    signal: int
    descriptor: int  # of the memory file, within that process: where it still links to HANG_DUMP_FILE


class LookWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon wants to know what a rank is doing that answers nothing. Removed by the supervisor, which looks."""

    order: str  # the order of kind "stacks" that was not answered
    generation: int
    rank: int
    training: int = 1
