"""`_trainwarden.py -m monitor.vault.verify FILE`: examines one checkpoint in a child process. Both sides of it.

The child reads the file without torch and executes nothing of it; its memory, time and files are limited, so that a
file made to hurt ends the child and nobody else. Whatever ends it, the parent gets an Examination.
"""

from __future__ import annotations

import argparse
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

import _trainwarden
from monitor.core.model import Verdict
from trainer_hooks.wire.digest import sha256_of

if TYPE_CHECKING:
    from monitor.vault.problems import Findings

CPU_S_MAX = 120
MEMORY_BYTES_MAX = 1024**3  # beyond the interpreter and the mapped file; a 32 MB pickle as a tree fits
FILES_MAX = 32
STRIPPED = "not resumable: the optimizer was stripped"  # the only reason against a finished training's last checkpoint
_REASON_CHARS = 400
_LISTED_MAX = 8  # names of what loading would run, and of own classes; the rest is counted


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one checkpoint file."""

    verdict: Verdict  # SOUND, POISONED or UNVERIFIED
    reasons: tuple[str, ...]  # sentences; a sound file may have remarks
    numbers: Verdict = Verdict.UNVERIFIED  # the same of its numbers alone, whatever loading it would run
    loading: tuple[str, ...] = ()  # sentences: what loading it would run that checkpoints do not need
    own_classes: tuple[str, ...] = ()  # of the script, in a file that its training was seen to save
    loading_known: bool = False  # True: all that loading it would run was looked at
    tensors: int = 0
    epoch: int | None = None  # the last epoch it holds, from 1; None: not known
    has_optimizer: bool = False
    has_weights: bool = False
    digest: str = ""  # sha256 of the bytes, hex; empty: they could not be read
    seconds: float = 0.0


def examine(
    path: Path, digest: str | None, timeout_s: float = 120.0, *, seen_saved: bool = False, is_part: bool = False
) -> Examination:
    """Examine `path` in a limited child process; never raises for what is in the file or becomes of the child.

    A `digest` (sha256, hex) that differs, a file that can't be read in full, and a child that dies, babbles or is not
    done after `timeout_s` all end as UNVERIFIED with the reason. `seen_saved`: a hook saw the training save the bytes
    of this digest, so that the script's own classes may be in them; every other file is foreign. `is_part`: of a
    folder of several files, so that it may hold no weights.
    """
    started_s = time.monotonic()
    command = _trainwarden.child_command("monitor.vault.verify", str(path.absolute()))
    if digest is not None:
        command += ["--digest", digest]
    if seen_saved:
        command.append("--seen-saved")
    if is_part:
        command.append("--part")
    result = run_child(command, timeout_s)
    return msgspec.structs.replace(result, seconds=time.monotonic() - started_s)


def run_child(command: Sequence[str], timeout_s: float) -> Examination:
    """What a child process prints on its standard output, or why it printed nothing: it died or took too long."""
    # One thread: numpy's BLAS would reserve memory for every core, which the limit would count.
    environment = {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False,
            start_new_session=True, env=environment, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _unverified(f"the examination was not done after {timeout_s:g} s and was ended")
    except OSError as error:
        return _unverified(f"the examination could not be started: {error.strerror}")
    if done.returncode != 0:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return _unverified(f"the examination died ({how}) {ascii(last_line)[1:-1]}".rstrip())
    try:
        return msgspec.json.decode(done.stdout, type=Examination)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _unverified(f"the examination gave no result: {error}")


def describe(examination: Examination) -> str:
    """The examination as a few lines for a terminal: both answers, every reason, and what to do."""
    epoch = f"epoch {examination.epoch}, " if examination.epoch is not None else ""
    optimizer = "with optimizer state" if examination.has_optimizer else "without optimizer state"
    found = f"{examination.tensors} tensors, {epoch}{optimizer}, {examination.seconds * 1000:.0f} ms"
    others = [reason for reason in examination.reasons if reason not in examination.loading]
    lines = [f"{examination.verdict.value}: {found}"]
    lines += [f"  Numbers: {_NUMBERS[examination.numbers]}", *(f"  - {reason}" for reason in others)]
    lines += [f"  Loading: {_loading(examination)}", *(f"  - {reason}" for reason in examination.loading)]
    if remedy := _remedy(examination):
        lines.append(f"  What to do: {remedy}")
    if examination.digest:
        lines.append(f"  sha256 {examination.digest}")
    return "\n".join(lines)


_NUMBERS = {
    Verdict.SOUND: "sound. Every weight, buffer and optimizer value was looked at.",
    Verdict.POISONED: "poisoned. The file holds damage.",
    Verdict.UNVERIFIED: "not verified. Some of them, or the whole file, could not be judged.",
}


def _loading(examination: Examination) -> str:
    if not examination.loading_known:
        return "not known, because the file could not be read."
    if examination.loading:
        return "it would import or call what checkpoints do not need."
    if examination.own_classes:
        return "it makes objects of the training's own classes, and runs nothing else."
    return "it runs nothing but what checkpoints need."


def _remedy(examination: Examination) -> str:
    """What a person can do about a file that is not sound; empty: nothing has to be done."""
    if examination.verdict is Verdict.POISONED:
        return "do not resume from this file; use an older checkpoint."
    if examination.loading:
        return (
            "load it only if you trust whoever made it. If a run of yours saved it, `trainwarden checkpoints RUN` says "
            "whether that copy is sound. To load the numbers alone, use torch.load(..., weights_only=True)."
        )
    if examination.verdict is Verdict.UNVERIFIED:
        return "do not rely on this file before you know why; an older checkpoint may be sound."
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The child: one JSON Examination on the standard output, exit status 0 whatever the verdict."""
    parser = argparse.ArgumentParser(prog="monitor.vault.verify", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--digest", help="sha256 that the bytes must have, hex")
    parser.add_argument("--seen-saved", action="store_true", help="the training was seen to save this file")
    parser.add_argument("--part", action="store_true", help="it is one file of several, and may hold no weights")
    chosen = parser.parse_args(arguments)
    found = _examine_here(chosen.file, chosen.digest, seen_saved=chosen.seen_saved, is_part=chosen.part)
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


def limit_process(file_bytes: int, cpu_s: int = CPU_S_MAX) -> None:
    """Limit this process for good: no file written, little memory beyond its own and the mapped file's, little time."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + file_bytes + MEMORY_BYTES_MAX
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (lower, lower))


def _examine_here(path: Path, digest: str | None, *, seen_saved: bool, is_part: bool) -> Examination:
    started_s = time.monotonic()
    try:
        # Not blocking: a named pipe in the file's place would hold us for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return _unverified("not a regular file")
            limit_process(status.st_size)
            result = examine_file(file, digest, seen_saved=seen_saved, is_part=is_part)
    except OSError as error:
        return _unverified(f"the file can't be read: {error.strerror}")
    except MemoryError:
        return _unverified("the file asks for more memory than its size allows")
    return msgspec.structs.replace(result, seconds=time.monotonic() - started_s)


def examine_file(file: BinaryIO, digest: str | None, *, seen_saved: bool = False, is_part: bool = False) -> Examination:
    """Examine an open file in this process, without any limit: what the child does. `seconds` is left at 0."""
    # Here and not above: they bring numpy, which the child alone needs and which is a fifth of the daemon's start.
    from monitor.vault.contents import read_contents  # noqa: PLC0415
    from monitor.vault.inert import UnreadableError  # noqa: PLC0415
    from monitor.vault.problems import judge  # noqa: PLC0415

    found = _digest(file)
    if digest is not None and digest.lower() != found:
        # Not even parsed: whatever these bytes are, nobody saved them.
        wanted = ascii(digest[:16])[1:-1]
        return _unverified(
            f"the bytes differ from those that were saved (sha256 {found[:16]}, expected {wanted})", found
        )
    try:
        contents = read_contents(file, seen_saved=seen_saved)
    except UnreadableError as error:
        return _unverified(str(error), found)
    except RecursionError:
        return _unverified("the file nests its values deeper than any checkpoint does", found)
    findings = judge(contents)
    unknown = (
        *contents.unreadable,
        *findings.unjudged,
        *(() if is_part else _missing(findings, len(contents.tensors))),
    )
    remarks = [*findings.remarks, *([STRIPPED] if findings.stripped else [])]
    if digest is None and not contents.has_checksums:
        remarks.append("this format carries no checksum and no digest was given: a changed number would not be noticed")
    numbers = Verdict.POISONED if findings.faults else Verdict.UNVERIFIED if unknown else Verdict.SOUND
    loading = _few(contents.loading.unexpected)
    own = contents.loading.own_classes
    if own:
        remarks.append(f"it holds objects of the training's own classes: {', '.join(_few(own))}")
    return Examination(
        verdict=Verdict.UNVERIFIED if loading and numbers is Verdict.SOUND else numbers,
        reasons=tuple(reason[:_REASON_CHARS] for reason in (*findings.faults, *loading, *unknown, *remarks)),
        numbers=numbers,
        loading=loading,
        loading_known=True,
        own_classes=own[:_LISTED_MAX],
        tensors=len(contents.tensors),
        epoch=findings.epoch,
        has_optimizer=findings.has_optimizer,
        has_weights=findings.has_weights,
        digest=found,
    )


def _few(lines: tuple[str, ...]) -> tuple[str, ...]:
    more = len(lines) - _LISTED_MAX
    return (*lines[:_LISTED_MAX], *([f"and {more} more"] if more > 0 else []))


def _missing(findings: Findings, tensors: int) -> list[str]:
    """What every checkpoint must hold and this one does not."""
    missing = []
    if not findings.has_weights:
        missing.append(f"no weights found among its {tensors} tensors")
    return missing


def _digest(file: BinaryIO) -> str:
    digest = sha256_of(file)
    file.seek(0)
    return digest


def _unverified(reason: str, digest: str = "") -> Examination:
    return Examination(verdict=Verdict.UNVERIFIED, reasons=(reason[:_REASON_CHARS],), digest=digest)


if __name__ == "__main__":
    sys.exit(main())
