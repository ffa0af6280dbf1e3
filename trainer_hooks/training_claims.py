"""Gives a training its number within the run, by a file in the run folder. Waits for others for LOCK_WAIT_S at most.

A number is claimed where a training begins, at train() or watch(): never when a process starts, and never by a rank
alone, which every child of a rank inherits. All ranks of one process group are one training. After a relaunch a
training gets the number it had: the one that was claimed by the same call with the same arguments, as the n-th training
of its process. A run with one training keeps it where its script was edited meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.run_documents import TrainingClaim
from trainer_hooks.wire.runfolder import RunFolder

LOCK_WAIT_S = 2.0  # whoever holds the lock reads and writes a few small files; after that we go on without it
LOCK_POLL_S = 0.005
TRIES_MAX = 1_000  # each means that another process, without the lock, took the number in between


class ClaimError(Exception):
    """No number could be claimed. Says in which folder, and why."""


@dataclass(frozen=True, slots=True)
class TrainingCall:
    """A train() or watch() as it is called: what a training is known by, in this generation and in a later one."""

    position: int  # the n-th training of its process, from 1
    call_site: str = ""  # "file:line"; empty: not known
    arguments_digest: str = ""  # sha256, hex; empty: not known
    job: str = ""  # the same for all ranks of one process group; empty: a process on its own
    rank: int = 0


def claim(folder: RunFolder, generation: int, call: TrainingCall) -> TrainingClaim:
    """The claim of the training that `call` begins, written to the run folder.

    Raises ClaimError where it can't be written.
    """
    try:
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            for _ in range(TRIES_MAX):
                if (taken := _try(folder, _wanted(folder, generation, call))) is not None:
                    return taken
    except OSError as error:
        raise ClaimError(f"{folder.root}: the training can't claim its number ({error.strerror or error})") from error
    raise ClaimError(f"{folder.root}: {TRIES_MAX} numbers were taken by other trainings while this one tried")


def unclaimed(generation: int, call: TrainingCall) -> TrainingClaim:
    """The claim of a training that could not claim a number: its position in the process has to do."""
    return _claim_of(call.position, generation, call)


def _wanted(folder: RunFolder, generation: int, call: TrainingCall) -> TrainingClaim:
    claims, numbers = _claims(folder)
    if call.job:
        mates = [each for each in claims if each.generation == generation and each.job == call.job]
        if mates and all(each.rank != call.rank for each in mates):
            return _claim_of(mates[0].number, generation, call)
        if mates:  # a rank is in its job once: this process is a child that has inherited its environment
            call = TrainingCall(call.position, call.call_site, call.arguments_digest)
    return _claim_of(_number(claims, numbers, generation, call), generation, call)


def _number(claims: list[TrainingClaim], numbers: dict[int, set[int]], generation: int, call: TrainingCall) -> int:
    """The number that the same call had in an earlier generation, and nobody has in this one; else the next free."""
    same = (call.position, call.call_site, call.arguments_digest)
    known = [
        each
        for each in claims
        if each.generation < generation
        and (each.position, each.call_site, each.arguments_digest) == same
        and generation not in numbers[each.number]
    ]
    known.sort(key=lambda each: (-each.generation, each.number))
    if not known and (moved := _moved_line(claims, numbers, generation, call)):
        return moved
    return known[0].number if known else max(numbers, default=0) + 1


def _moved_line(
    claims: list[TrainingClaim], numbers: dict[int, set[int]], generation: int, call: TrainingCall
) -> int | None:
    """The number of a run's only training, whose script was edited while it trained: its call has another line now."""
    if len(numbers) != 1 or not claims or generation in numbers[claims[0].number]:
        return None
    same = (call.position, call.arguments_digest, call.call_site.rpartition(":")[0])
    first = claims[0]
    found = (first.position, first.arguments_digest, first.call_site.rpartition(":")[0])
    return first.number if found == same and call.arguments_digest else None


def _claims(folder: RunFolder) -> tuple[list[TrainingClaim], dict[int, set[int]]]:
    """What was claimed so far; and for every number its generations, also of claims that can't be read."""
    claims: list[TrainingClaim] = []
    numbers: dict[int, set[int]] = {}
    for (number, generation, _), path in sorted(folder.claimed().items()):
        numbers.setdefault(number, set()).add(generation)
        with contextlib.suppress(RunFolderError):  # its writer was killed: the number stays taken
            claims.append(read(path, TrainingClaim))
    return claims, numbers


def _claim_of(number: int, generation: int, call: TrainingCall) -> TrainingClaim:
    return TrainingClaim(
        number=number,
        generation=generation,
        pid=os.getpid(),
        parent_pid=os.getppid(),
        position=call.position,
        call_site=call.call_site,
        arguments_digest=call.arguments_digest,
        job=call.job,
        rank=call.rank,
        claimed_s=time.time(),
    )


def _try(folder: RunFolder, wanted: TrainingClaim) -> TrainingClaim | None:
    """The claim, once its file is there; None: another process was quicker."""
    path = folder.claim(wanted.number, wanted.generation, wanted.rank)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(wanted))
    return wanted


@contextlib.contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    """Alone in the folder, unless somebody holds the lock for longer than LOCK_WAIT_S or the file system has none."""
    descriptor = os.open(folder.claims_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return
            time.sleep(LOCK_POLL_S)
        except OSError:  # a network file system without locks: the files themselves keep two from sharing a number
            return
        else:
            return
