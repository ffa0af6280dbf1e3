"""The documents that the supervisor keeps in the run folder: run, lock, generations, exits, end. Writes files."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from monitor.supervisor.process import boot_id, environment, read_stat
from monitor.supervisor.start_errors import StartError
from trainer_hooks.wire.document_io import RunFolderError, read, write, write_bytes
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import Exit, Generation, RunOutcome, RunOver, RunSpec
from trainer_hooks.wire.runfolder import ENV_NONCE, RunFolder, run_folder
from trainer_hooks.wire.words import OrderOutcome, PlanKind

LOCK_NAME = "supervisor.lock"
NAME_MAX = 30  # characters of a title in a run id
EARLY_S = 60.0  # a generation that ends within this time, and left no newer state, has trained nothing to speak of


@dataclass(frozen=True, slots=True)
class RunDocuments:
    """The documents of one run. Its lock is held by this supervisor alone, for as long as it lives."""

    spec: RunSpec
    folder: RunFolder
    lock: int  # descriptor; the kernel releases it when we die, however we die

    @property
    def ended(self) -> Path:
        return self.folder.ended

    def last(self) -> Generation | None:
        """The newest generation; None: there was none yet. Raises StartError if its file can't be read."""
        number = self.folder.last_generation()
        try:
            return read(self.folder.generation(number), Generation) if number else None
        except RunFolderError as error:
            raise StartError(
                f"{error}, so it is not known whether that training still runs. Check for it, then remove the file."
            ) from error

    def last_started(self) -> Generation | None:
        """The newest generation whose process was started; None: none was. Raises StartError as `last`."""
        last = self.last()
        if last is None or last.pid:
            return last
        numbers = [number for number in self.folder.generations() if number < last.number]
        try:
            return read(self.folder.generation(max(numbers)), Generation) if numbers else None
        except RunFolderError as error:
            raise StartError(str(error)) from error

    def set_end_aside(self, number: int) -> None:
        """The run goes on with generation `number`, so it has not ended."""
        if self.ended.exists():
            self.ended.rename(self.ended.with_name(f"ended-before-{number}.json"))

    def allocate(self, number: int) -> Generation:
        """Generation `number` with a new nonce; a number that was allocated and never started is used again."""
        nonce = secrets.token_hex(16)
        try:
            return self.folder.allocate_generation("supervisor", nonce, number)
        except FileExistsError:
            return Generation(number=number, nonce=nonce, allocated_by="supervisor")

    def write_start(self, generation: Generation, pid: int) -> Generation:
        """Write it durably before the training's first instruction, so that the next supervisor finds the process."""
        stat = read_stat(pid)
        started = msgspec.structs.replace(
            generation,
            pid=pid,
            start_ticks=stat.start_ticks if stat else 0,
            boot_id=boot_id(),
            started_s=time.time(),
            supervisor_pid=os.getpid(),
        )
        write(self.folder.generation(generation.number), started)
        return started

    def write_end(self, how: RunOutcome, detail: str, code: int) -> None:
        """The run is over: nothing more is started."""
        write(self.ended, RunOver(how=how, detail=detail, code=code, ended_s=time.time()))

    def exit(self, number: int) -> Exit | None:
        """How generation `number` ended; None: not written down."""
        return read(path, Exit) if (path := self.folder.exit(number)).exists() else None

    def plan(self, number: int) -> Plan | None:
        """What generation `number` has to start from; None: no plan. Raises RunFolderError if it can't be used."""
        path = self.folder.plan(number)
        if not path.exists():
            return None
        plan = read(path, Plan)
        if (plan.run, plan.generation, plan.kind) != (self.spec.run, number, PlanKind.ROLLBACK):
            raise RunFolderError(f"{path}: is a {plan.kind!r} plan for {plan.run!r} generation {plan.generation}")
        return plan

    def receipt(self, order: str) -> Receipt | None:
        """What became of the order; None: nothing is known yet."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", order):
            raise RunFolderError(f"order id {order!r}: letters, digits, '.', '_' and '-' only")
        return read(path, Receipt) if (path := self.folder.receipt(order)).exists() else None

    def receipts(self, number: int) -> list[Receipt]:
        """Every readable receipt that generation `number` left, oldest first."""
        found = []
        for path in self.folder.root.glob("applied-*.json"):
            try:
                receipt = read(path, Receipt)
            except RunFolderError:  # the receipt of a plan's order is read by its name, and reported there
                continue
            if receipt.generation == number:
                found.append(receipt)
        return sorted(found, key=lambda receipt: receipt.written_s)

    def void_plan(self, number: int) -> None:
        """Keep the plan under a name that nobody carries out."""
        path = self.folder.plan(number)
        path.rename(path.with_name(f"void-{path.name}"))

    def early_ends(self, over: Exit) -> int:
        """How many generations in a row, up to the one of `over`, ended early, obeyed no order and came no further."""
        count = 0
        last: Exit | None = over
        while last is not None and self._ended_early(last):
            count += 1
            last = self.exit(last.number - 1)
        return count

    def _ended_early(self, over: Exit) -> bool:
        started_s = read(self.folder.generation(over.number), Generation).started_s
        obeyed = any(receipt.outcome == OrderOutcome.APPLIED for receipt in self.receipts(over.number))
        return over.ended_s - started_s < EARLY_S and not obeyed and not self._came_further(over.number)

    def _came_further(self, number: int) -> bool:
        """True where the next generation has a plan to start from a later state than this one: the policy limits those.

        The state of a later training counts as later.
        """
        try:
            before, after = self.plan(number), self.plan(number + 1)
        except RunFolderError:  # whoever carries the plan out reports it
            return False
        if after is None or after.target is None:
            return False
        if before is None or before.target is None:
            return True
        return (after.training, after.target.holds) > (before.training, before.target.holds)

    def close(self) -> None:
        os.close(self.lock)


def open_new(spec: RunSpec, policy_text: str) -> RunDocuments:
    """Write down a new run. Raises StartError if the folder holds one already, RunFolderError for an unusable id."""
    folder = run_folder(spec.run)
    folder.create()
    lock = _lock(folder, spec.run)
    if folder.spec.exists() or folder.last_generation():
        over = folder.ended.exists()
        state = "has ended" if over else "was left without a supervisor"
        remedy = "continue it" if over else "take it over"
        os.close(lock)
        raise StartError(
            f"run {spec.run!r} exists in {folder.root} and {state}: choose another --run, "
            f"or {remedy} with `trainwarden run --adopt {spec.run}`"
        )
    write_bytes(folder.policy, policy_text.encode())
    write(folder.spec, spec)
    return RunDocuments(spec, folder, lock)


def open_again(run: str) -> RunDocuments:
    """A run whose supervisor is dead. Raises StartError if it lives, or if there is no such run."""
    folder = run_folder(run)
    if not folder.spec.exists():
        raise StartError(f"run {run!r}: there is no {folder.spec}; `trainwarden status` lists the runs")
    lock = _lock(folder, run)
    return RunDocuments(read(folder.spec, RunSpec), folder, lock)


def _lock(folder: RunFolder, run: str) -> int:
    """Take the lock, for life. That it is free proves that no other supervisor lives."""
    descriptor = os.open(folder.root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StartError(f"run {run!r} is live, under the supervisor with pid {owner}: choose another --run") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def new_run_id(title: str, argv: tuple[str, ...]) -> str:
    """A readable id that no other run has: what it is, when it began, and four random digits."""
    script = next((Path(word).stem for word in argv if word.endswith(".py")), Path(argv[0]).name if argv else "run")
    name = re.sub(r"[^A-Za-z0-9]+", "-", title or script).strip("-")[:NAME_MAX].strip("-").lower() or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def died_with_machine(generation: Generation) -> bool:
    """True where the machine was started again since the generation was."""
    return generation.boot_id not in ("", boot_id())


def still_runs(generation: Generation) -> bool:
    """True where the generation's first process is the one now running under its pid: four proofs, not one."""
    stat = read_stat(generation.pid) if generation.pid else None
    return (
        stat is not None
        and not stat.gone
        and stat.start_ticks == generation.start_ticks
        and boot_id() == generation.boot_id
        and environment(generation.pid).get(ENV_NONCE) == generation.nonce
    )
