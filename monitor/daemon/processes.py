"""Watches the processes of live runs die. An edge file: pidfds in the daemon's loop.

The only signal it ever sends is SIGTERM to a supervisor that enrolled itself, through the pidfd that is watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from monitor.core.model import GenerationExited, Input, RunEnded, SupervisorChanged, TrainingVanished
from monitor.core.model.outcomes import RUN_OUTCOMES, outcome_of
from monitor.core.state.crash import crash_of
from monitor.core.state.run import Fleet, RunState, TrainingState
from monitor.daemon.clock import Clock
from trainer_hooks.wire import document_io
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.run_documents import Exit, Generation
from trainer_hooks.wire.runfolder import run_folder
from trainer_hooks.wire.words import TrainingEnd

SILENT_S = (
    10.0  # a process we can't see (another pid namespace) counts as gone only if its records stopped this long ago
)

log = logging.getLogger("trainwarden.daemon")


class Processes:
    """Reports to the core when a supervisor, or a training without a supervisor, is gone."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        clock: Clock,
        offer: Callable[[Input], None],
        before_exit: Callable[[str], None],
    ) -> None:
        self._fleet, self._clock, self._offer, self._before_exit = fleet, clock, offer, before_exit
        self._began_s, self._boot = clock.now_s(), _boot_id()
        self._boots: dict[tuple[str, int], str] = {}  # by run and generation: the machine's start that it began in
        self._watched: dict[int, int] = {}  # pid -> pidfd
        self._gone: dict[int, bool] = {}  # pid -> True: seen alive once and dead since; False: never seen

    def look(self) -> None:
        """Watch the processes that need it, and report those that are gone. Called with every tick."""
        wanted: set[int] = set()
        for run in list(self._fleet().runs.values()):
            if run.ended or self._died_with_machine(run):
                continue
            children = self._children(run)
            wanted |= {pid for pid in (run.supervisor_pid, self._training_pid(run), *children) if pid}
            self._check(run)
            for pid, training in children.items():
                self._check_child(run, training, pid)
        for pid in set(self._watched) - wanted:
            self._release(pid)
        for pid in set(self._gone) - wanted:
            del self._gone[pid]
        live = {(name, run.generation) for name, run in self._fleet().runs.items() if not run.ended}
        self._boots = {key: boot for key, boot in self._boots.items() if key in live}

    def end_training(self, run: str) -> None:
        """Ask the supervisor of `run` to end its training: it passes SIGTERM on, and SIGKILL to what does not leave."""
        known = self._fleet().runs.get(run)
        descriptor = self._watched.get(known.supervisor_pid) if known else None
        if descriptor is None:
            log.warning("run %s: its supervisor is not there to end the training", run)
            return
        with contextlib.suppress(ProcessLookupError):  # it has just gone, and the reader of the pidfd says so
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)

    def close(self) -> None:
        for pid in list(self._watched):
            self._release(pid)

    def _training_pid(self, run: RunState) -> int:
        return (run.pid or (run.training.started.pid if run.training.started else 0)) if run.alive else 0

    def _children(self, run: RunState) -> dict[int, TrainingState]:
        """The trainings that go on in processes of their own, beside the run's first, by pid."""
        going = [each for each in run.trainings.values() if run.trains(each)]
        return {
            each.started.pid: each for each in going if each.started and each.started.pid != self._training_pid(run)
        }

    def _check_child(self, run: RunState, training: TrainingState, pid: int) -> None:
        """One that was killed reports no end. A pid of another pid namespace says nothing."""
        if self._lives(pid):
            return
        parent_seen = run.supervisor_pid in self._watched or self._training_pid(run) in self._watched
        if self._gone[pid] or (parent_seen and self._silent(run, training)):
            self._before_exit(run.spec.run)  # it may have reported its end after all
            self._offer(TrainingVanished(run.spec.run, run.generation, training.number, pid))

    def _check(self, run: RunState) -> None:
        if run.supervisor_pid and not self._lives(run.supervisor_pid):
            pid = self._training_pid(run)
            with_training = bool(pid) and not self._lives(pid)
            if with_training and not (self._gone[pid] or self._silent(run)):
                return  # neither can be seen from here, and the training may still be heard of
            self._supervisor_gone(run, run.supervisor_pid, with_training=with_training)
        if run.supervisor_pid:
            return  # the supervisor is the training's parent: it alone learns how it ended, and says so
        pid = self._training_pid(run)
        if pid and not self._lives(pid) and (self._gone[pid] or self._silent(run)):
            self._before_exit(run.spec.run)
            now_s = self._clock.now_s()
            exit_ = Exit(number=run.generation, code=None, signal=None, ended_s=now_s)
            self._offer(GenerationExited(run.spec.run, exit_, relaunch=False))
            if not run.spec.argv or _began_by_itself(run):  # nobody else will say that it is over, or take it over
                self._offer(_end_of(run, exit_))

    def _died_with_machine(self, run: RunState) -> bool:
        """True for a run that was started before the machine was, which is reported. Its pids mean others by now.

        A folder that two machines share shows such a run as well: one that is heard of lives on the other.
        """
        if not (run.alive or run.supervisor_pid) or not self._of_an_earlier_boot(run):
            return False
        if run.dead or run.died_with_machine == run.generation:
            return False  # that is known, and the supervisor is one of now, which resumes the run
        if not self._silent(run) or self._clock.now_s() - self._began_s < SILENT_S:
            return True
        self._before_exit(run.spec.run)  # what its last processes wrote down
        if run.alive and not run.ended:
            exit_ = Exit(number=run.generation, code=None, signal=None, ended_s=self._clock.now_s())
            log.warning("run %s: generation %d died with the machine", run.spec.run, run.generation)
            self._offer(GenerationExited(run.spec.run, exit_, relaunch=False, with_machine=True))
        if run.supervisor_pid and not run.ended:
            self._offer(SupervisorChanged(run.spec.run, 0, with_training=True))
        return True

    def _of_an_earlier_boot(self, run: RunState) -> bool:
        key = (run.spec.run, run.generation)
        if key not in self._boots:
            try:
                document = run_folder(run.spec.run).generation(run.generation)
                self._boots[key] = document_io.read(document, Generation).boot_id
            except RunFolderError:
                self._boots[key] = ""
        return self._boots[key] not in ("", self._boot)

    def _supervisor_gone(self, run: RunState, pid: int, *, with_training: bool) -> None:
        """First what it wrote down and could not send: a run that is over has not lost its supervisor."""
        self._before_exit(run.spec.run)
        if not run.ended and run.supervisor_pid == pid:
            self._offer(SupervisorChanged(run.spec.run, 0, with_training=with_training))

    def _silent(self, run: RunState, only: TrainingState | None = None) -> bool:
        ranks = [
            rank for each in run.trainings.values() for rank in each.ranks.values() if only is None or each is only
        ]
        heard = max((rank.last_batch_s or 0.0 for rank in ranks), default=0.0)
        return self._clock.now_s() - max(heard, run.opened_s) > SILENT_S

    def _lives(self, pid: int) -> bool:
        if pid in self._watched:
            return True
        if pid in self._gone:
            return False
        try:
            descriptor = os.pidfd_open(pid)
        except (OSError, OverflowError) as error:  # OverflowError: no process has such a number
            log.info("process %d can't be watched: %s", pid, error)
            self._gone[pid] = False
            return False
        look = select.poll()
        look.register(descriptor, select.POLLIN)
        if look.poll(0):  # it has died, and nobody has waited for it
            os.close(descriptor)
            self._gone[pid] = True
            return False
        self._watched[pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, partial(self._died, pid))
        return True

    def _died(self, pid: int) -> None:
        self._release(pid)
        self._gone[pid] = True
        self.look()

    def _release(self, pid: int) -> None:
        descriptor = self._watched.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def _boot_id() -> str:
    """Another one each time that the machine is started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _began_by_itself(run: RunState) -> bool:
    """True where its own hook took the generation: no supervisor was ever there."""
    try:
        path = run_folder(run.spec.run).generation(run.generation)
        return document_io.read(path, Generation).allocated_by == "hook"
    except RunFolderError:
        return False


def _end_of(run: RunState, exit_: Exit) -> RunEnded:
    """The end of a run that no supervisor reports. Only what its training said last is known."""
    training = run.training
    finished = training.over and training.how in (TrainingEnd.FINISHED, TrainingEnd.EXITED)
    how = RUN_OUTCOMES[outcome_of(exit_, order_obeyed=training.ledger.leaving, training_finished=finished)]
    if crash := crash_of(run):
        return RunEnded(run.spec.run, how, crash)
    detail = "its process is gone" if training.over else "its process is gone and reported no end: it was killed"
    return RunEnded(run.spec.run, how, detail)
