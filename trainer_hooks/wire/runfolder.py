"""The run folder and the documents in it, which outlive every process of a run. The one file of `wire` that does I/O.

<home>/runs/<run>/
run.json                 RunSpec: what was asked for, once
environment.json         RunEnvironment: what it was started with, without what looks like a secret
policy.yaml              the policy, frozen when the run began
generation-<n>.json      Generation: allocated by creating it (O_EXCL), by the supervisor or, without one, by rank 0
exit-<n>.json            Exit: how the process of that generation ended, written by the supervisor
ended.json               RunOver: the supervisor starts nothing more
plan-<n>.json            Plan: what generation n starts from (written before the order that names it)
applied-<order>.json     Receipt: what became of an order
training-<t>-g<n>.json   TrainingClaim: training t of the run began in generation n; see trainer_hooks.training_claims
last-<t>-g<n>.json       LastCounts: what training t of generation n had counted; see trainer_hooks.wire.last_counts
hang_dump-<n>-<t>-<rank>.json   HangDumpFile: where to look into a rank of training t that hangs
look-<order>.json        LookWanted: the daemon asks the supervisor to look
spool/                   checkpoint copies with a Manifest each, and events that must arrive
.vault/                  checkpoint copies the daemon adopted
reports/                 one Markdown file an incident
state.msgpack            the daemon's picture of the run when it ended, for reports of old runs
output.log               the training's output after its terminal went away
"""

from __future__ import annotations

import os
import re
import stat
import uuid
from pathlib import Path
from typing import TypeVar

import msgspec

from trainer_hooks.wire.enums import StrEnum

SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path less its NUL
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CLAIM_NAME = re.compile(r"training-([0-9]{1,9})-g([0-9]{1,9})(?:-r([0-9]{1,9}))?\.json")
GENERATION_NAME = re.compile(r"generation-([0-9]{1,9})\.json")
DOCUMENT_BYTES_MAX = 16 * 1024 * 1024  # the largest is a plan, with a few kB; a longer file is none of ours

ENV_RUN = "TRAINWARDEN_RUN"
ENV_RUN_FOLDER = "TRAINWARDEN_RUN_FOLDER"
ENV_GENERATION = "TRAINWARDEN_GENERATION"
ENV_NONCE = "TRAINWARDEN_NONCE"
ENV_PLAN = "TRAINWARDEN_PLAN"  # path of the plan this generation must start from; set from generation 2 on
ENV_SNAPSHOTS = "TRAINWARDEN_SNAPSHOT_S"  # seconds between two snapshots within an epoch; absent or 0: none are taken
ENV_HOME = "TRAINWARDEN_HOME"
HANG_DUMP_FILE = (
    "/memfd:trainwarden-hang_dump"  # as the kernel names it; a descriptor that was closed is soon another file's
)


class RunFolderError(Exception):
    """A document of the run folder is missing, unreadable or of another version. Says which and what to do."""


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


Document = TypeVar(
    "Document",
    RunSpec,
    RunEnvironment,
    Generation,
    Exit,
    RunOver,
    Plan,
    Receipt,
    Manifest,
    TrainingClaim,
    HangDumpFile,
    LookWanted,
)


class RunFolder:
    """The paths of one run. Creating the object touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "run.json"
        self.environment = root / "environment.json"
        self.policy = root / "policy.yaml"
        self.spool = root / "spool"
        self.vault = root / ".vault"
        self.reports = root / "reports"
        self.output_log = root / "output.log"
        self.state = root / "state.msgpack"

    def generation(self, number: int) -> Path:
        return self.root / f"generation-{number}.json"

    def exit(self, number: int) -> Path:
        return self.root / f"exit-{number}.json"

    @property
    def ended(self) -> Path:
        return self.root / "ended.json"

    def plan(self, generation: int) -> Path:
        return self.root / f"plan-{generation}.json"

    def adjustment(self, order: str) -> Path:
        return self.root / f"adjust-{order}.json"

    def receipt(self, order: str) -> Path:
        return self.root / f"applied-{order}.json"

    def hang_dump(self, generation: int, rank: int, training: int = 1) -> Path:
        return self.root / f"hang_dump-{generation}-{training}-{rank}.json"

    @property
    def claims_lock(self) -> Path:
        """Held while a training looks for its number and takes it."""
        return self.root / ".trainings.lock"

    def claim(self, training: int, generation: int, rank: int = 0) -> Path:
        of_rank = f"-r{rank}" if rank else ""
        return self.root / f"training-{training}-g{generation}{of_rank}.json"

    def claimed(self) -> dict[tuple[int, int, int], Path]:
        """The file of every claim, by (training, generation, rank); also of those that are still being written."""
        return {
            (int(found[1]), int(found[2]), int(found[3] or 0)): path
            for path in self.root.glob("training-*-g*.json")
            if (found := CLAIM_NAME.fullmatch(path.name))
        }

    def look(self, order: str) -> Path:
        return self.root / f"look-{order}.json"

    def create(self) -> None:
        """Make the folder and its sub-folders, readable by their owner only."""
        for folder in (self.root, self.spool, self.vault, self.reports):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def last_generation(self) -> int:
        """The highest generation allocated so far; 0: none."""
        return max(self.generations(), default=0)

    def generations(self) -> list[int]:
        """The numbers of all that have a file, lowest first."""
        names = (path.name for path in self.root.glob("generation-*.json"))
        return sorted(int(found[1]) for name in names if (found := GENERATION_NAME.fullmatch(name)))

    def allocate_generation(self, allocated_by: str, nonce: str, number: int | None = None) -> Generation:
        """Take the next generation (or `number`) by creating its file. Raises FileExistsError if it is taken."""
        taken = Generation(number=number or self.last_generation() + 1, nonce=nonce, allocated_by=allocated_by)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.generation(taken.number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(taken))
        return taken


def state_home() -> Path:
    """Where runs and the store live: $TRAINWARDEN_HOME, or trainwarden in the XDG state folder."""
    if home := os.environ.get(ENV_HOME):
        return Path(home)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trainwarden"


def runtime_folder() -> Path:
    """Where sockets and the lock live: $TRAINWARDEN_HOME, or trainwarden in $XDG_RUNTIME_DIR, or the state home."""
    if not os.environ.get(ENV_HOME) and (base := os.environ.get("XDG_RUNTIME_DIR")):
        return Path(base) / "trainwarden"
    return state_home() / "run"


def records_socket() -> Path:
    """The socket the hooks send to. Raises RunFolderError if its path is too long."""
    return _socket("in.sock")


def control_socket() -> Path:
    """The socket the CLI and the supervisor talk HTTP over. Raises RunFolderError if its path is too long."""
    return _socket("api.sock")


def _socket(name: str) -> Path:
    path = runtime_folder() / name
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise RunFolderError(
            f"{path}: a socket's path holds {SOCKET_PATH_MAX} bytes, set {ENV_HOME} to a shorter folder"
        )
    return path


def run_folder(run: str) -> RunFolder:
    """The folder of a run. Raises RunFolderError for an id that could leave the folder of runs."""
    if not RUN_ID.fullmatch(run):
        raise RunFolderError(
            f"run id {run!r}: letters, digits, '.', '_' and '-' only, at most 64; choose another --run"
        )
    return RunFolder(state_home() / "runs" / run)


def read(path: Path, kind: type[Document]) -> Document:
    """The document. Raises RunFolderError that names the file where it is missing, torn or of another shape."""
    try:
        return msgspec.json.decode(read_bytes(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunFolderError(f"{path}: is no {kind.__name__} ({error})") from error


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises RunFolderError where it is missing, no plain file (a pipe blocks), or too long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise RunFolderError(f"{path}: can't be read (not a plain file)")
            if found.st_size > DOCUMENT_BYTES_MAX:
                raise RunFolderError(f"{path}: can't be read ({found.st_size} bytes; at most {DOCUMENT_BYTES_MAX})")
            return file.read()
    except OSError as error:
        raise RunFolderError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:  # a NUL in the path
        raise RunFolderError(f"{path}: can't be read ({error})") from error


def write(path: Path, document: msgspec.Struct) -> None:
    """Durably: a reader sees the old file or the whole new one, and after it returns a power cut keeps the new one."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document), indent=1))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write`, for bytes: temporary file beside it, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
