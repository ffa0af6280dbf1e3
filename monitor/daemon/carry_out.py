"""Carries out what the core asked for, once it is committed. An edge file: writes the run folders, in worker threads.

Each effect ends in an input to the core or in nothing, and is marked done; one that a kill cut short is carried out
again at the next start, which changes nothing the second time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec

from monitor.core.model import (
    Effect,
    EndTraining,
    ExamineCheckpoint,
    Incident,
    Input,
    KeepCheckpoints,
    KeepState,
    LookAtTraining,
    PlanWritten,
    SendOrder,
    StacksTaken,
    WritePlan,
    WriteReport,
)
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.background import off_loop
from monitor.daemon.clock import Clock
from monitor.history.transaction_rows import run_of
from monitor.report import render
from monitor.report.report_input import without_statistics
from monitor.supervisor.stack_inspection import look
from monitor.vault.copies import Vault
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.messages import Order
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import LookWanted
from trainer_hooks.wire.runfolder import run_folder

PLAN_NAME = re.compile(r"(plan-\d+|adjust-[A-Za-z0-9._-]{1,120})\.json")

log = logging.getLogger("trainwarden.daemon")


class Effects:
    """One effect of a run at a time, in the order they came, but for the vault's: a plan waits for no verification.

    Runs do not wait for each other.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        clock: Clock,
        offer: Callable[[Input], None],
        finish: Callable[[Effect], None],
        send: Callable[[Order], None],
        end_training: Callable[[str], None],
    ) -> None:
        self._fleet, self._clock, self._offer, self._finish, self._send = fleet, clock, offer, finish, send
        self._end_training = end_training
        self._locks: dict[tuple[str, bool], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, effect: Effect) -> None:
        """Carry it out soon. Orders leave at once."""
        if isinstance(effect, SendOrder):
            self._send(effect.order)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(effect), name=f"effect {effect.id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def settle(self, wait_s: float) -> None:
        """Wait for those that have begun, at most `wait_s`; the rest is carried out at the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed and is left for the next start", task.get_name(), exc_info=error)

    async def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, LookAtTraining):  # it may take a while, and what is done about a hang must not wait
            await self._look(effect)
            self._finish(effect)
            return
        of_the_vault = isinstance(effect, ExamineCheckpoint | KeepCheckpoints)
        async with self._locks[run_of(effect), of_the_vault]:
            match effect:
                case WritePlan():
                    self._offer(await off_loop(_write_plan, effect))
                case ExamineCheckpoint():
                    vault = Vault(run_folder(effect.run))
                    asked = effect.manifest, effect.digest, effect.run, effect.training
                    self._offer(await off_loop(vault.examine, *asked))
                case KeepCheckpoints():
                    await off_loop(Vault(run_folder(effect.run)).keep, effect.digests)
                case WriteReport():
                    await self._write_report(effect)
                case KeepState():
                    await self._keep_state(effect)
                case EndTraining():
                    self._end_training(effect.run)
        self._finish(effect)

    async def _look(self, effect: LookAtTraining) -> None:
        """The supervisor looks, where there is one: see monitor.supervisor.stack_requests."""
        run, folder = self._fleet().runs.get(effect.run), run_folder(effect.run)
        if run is not None and run.supervisor_pid:
            wanted = LookWanted(
                order=effect.order, generation=effect.generation, rank=effect.rank, training=effect.training
            )
            await off_loop(document_io.write, folder.look(effect.order), wanted)
            return
        seen = await off_loop(look, folder, effect.generation, effect.rank, effect.order, effect.training)
        self._offer(StacksTaken(effect.run, effect.generation, effect.rank, seen))

    async def _write_report(self, effect: WriteReport) -> None:
        run = self._fleet().runs.get(effect.run)
        found = _incident_of(run, effect.incident) if run else None
        if run is None or found is None:
            return
        training, incident = found
        now_s = self._clock.now_s()
        text = render(run, training, incident, now_s)  # in the loop: no thread may look at the state while it changes
        reports = run_folder(effect.run).reports
        try:
            await off_loop(_write, reports / f"{incident.number}.md", text.encode())
        except OSError as error:
            log.warning(
                "incident %s: its report could not be written (%s); the next change tries again", incident.id, error
            )

    async def _keep_state(self, effect: KeepState) -> None:
        run = self._fleet().runs.get(effect.run)
        if run is None:
            return
        state = msgspec.msgpack.encode(without_statistics(run))  # in the loop, as above
        try:
            await off_loop(_write, run_folder(effect.run).state, state)
        except OSError as error:
            log.warning("run %s: its state could not be kept (%s); reports of it end in a day", effect.run, error)


def _incident_of(run: RunState, id_: str) -> tuple[TrainingState, Incident] | None:
    """An incident by its id, and the training that it is of."""
    every = ((training, each) for training in run.trainings.values() for each in training.ledger.incidents)
    return next(((training, each) for training, each in every if each.id == id_), None)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document_io.write_bytes(path, data)


def _write_plan(effect: WritePlan) -> PlanWritten:
    """The plan is on disk, or why not. The same plan found there already is success: an earlier daemon wrote it."""
    try:
        if not PLAN_NAME.fullmatch(effect.name):
            return PlanWritten(effect.run, effect.plan.id, f"plan name {effect.name!r}: is not the name of a plan")
        path = run_folder(effect.run).root / effect.name
        if not _holds(path, effect.plan):
            document_io.write(path, effect.plan)
    except (OSError, RunFolderError) as error:
        return PlanWritten(effect.run, effect.plan.id, str(error))
    return PlanWritten(effect.run, effect.plan.id, "")


def _holds(path: Path, plan: Plan) -> bool:
    if not path.exists():
        return False
    try:
        return document_io.read(path, Plan).id == plan.id
    except RunFolderError as error:
        log.warning("%s; it is written again", error)
        return False
