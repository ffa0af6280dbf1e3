"""The run folder and where it lies. Its documents, in run_documents and plan, outlive every process of a run.

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
from pathlib import Path

import msgspec

from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.run_documents import Generation

SOCKET_PATH_MAX = 107  # bytes of sockaddr_un.sun_path less its NUL
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CLAIM_NAME = re.compile(r"training-([0-9]{1,9})-g([0-9]{1,9})(?:-r([0-9]{1,9}))?\.json")
GENERATION_NAME = re.compile(r"generation-([0-9]{1,9})\.json")

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
