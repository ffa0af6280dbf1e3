"""Which process group this process is a rank of, if any. Reads the environment and, where loaded, torch.distributed.

A rank's environment proves nothing by itself: every process that a rank starts inherits it, and some launchers set no
RANK at all. So a rank marks its environment for its children, and an initialized process group counts more than RANK.
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

ENV_RANK_OF = "TRAINWARDEN_RANK_OF"  # "<pid> <launch> <rank>" of the process that is that rank
STORE_KEY = "trainwarden/job"

_SAME_FOR_ALL = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "SLURM_JOB_ID",
    "SLURM_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
)


class Job(NamedTuple):
    """A process group of more than one rank, and this process's place in it."""

    key: str  # the same in every rank, and in no other job; empty: this process is alone
    rank: int


ALONE = Job("", 0)


def job_of_this_process(environment: MutableMapping[str, str] = os.environ) -> Job:
    """The job that this process is a rank of; ALONE for any other process, a child of a rank included.

    Marks the environment so that children of a rank know that they are not ranks. Asks the group's store only where
    the launcher's environment does not name the job.
    """
    group = _initialized_group()
    launched = launch_key(environment)
    rank = _number(environment.get("RANK")) if group is None else int(group.get_rank())
    if rank is None or not (launched or group is not None):
        return ALONE
    own = f"{_launch(environment)} {rank}"
    owner, _, inherited = environment.get(ENV_RANK_OF, "").partition(" ")
    if inherited == own and owner != str(os.getpid()):
        return ALONE
    key = launched or (_agreed_key(group) if group is not None else "")
    if not key:
        return ALONE
    environment[ENV_RANK_OF] = f"{os.getpid()} {own}"
    return Job(key, rank)


def launch_key(environment: Mapping[str, str]) -> str:
    """The same text in every rank of one launch, as good as never in two launches; empty: a launch of one process.

    Built from what launchers (torchrun, Slurm, a user's own script) give all ranks alike.
    """
    world = environment.get("WORLD_SIZE", "1")
    if world == "1":
        return ""
    values = [environment.get(name, "") for name in _SAME_FOR_ALL]
    if environment.get("LOCAL_WORLD_SIZE") == world:
        values.append(str(os.getppid()))  # all ranks are on this host, children of one launcher
    return hashlib.sha256("\0".join(values).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _launch(environment: Mapping[str, str]) -> str:
    """What a child inherits unchanged, unless it is launched as a rank itself."""
    values = [environment.get(name, "") for name in (*_SAME_FOR_ALL, "RANK", "LOCAL_RANK")]
    return hashlib.sha256("\0".join(values).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _initialized_group() -> Any:
    """torch.distributed, where it is loaded and has a group of more than one rank; else None."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None


def _agreed_key(distributed: Any) -> str:
    """A key that the first rank to ask makes up and leaves on the group's own store; empty: there is no store."""
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bytes(store.compare_set(STORE_KEY, "", uuid.uuid4().hex[:16])).decode()
    except Exception:  # noqa: BLE001  each backend has its own errors; without a key this rank is on its own
        return ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() else None
