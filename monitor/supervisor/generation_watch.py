"""Watches one generation until it has ended: signals, Ctrl-Z, a plan's deadline, ending what is left. Waits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from monitor.core.model import Severity
from monitor.supervisor.descendants import Cleared, Descendants, KillTimeouts, clear
from monitor.supervisor.launch import AdoptedProcess, Ended, Paused, TrainingProcess
from monitor.supervisor.posix_signals import PASSED_ON, SignalInbox
from monitor.supervisor.run_documents import RunDocuments
from monitor.supervisor.terminal import Terminal, TerminalOutput
from monitor.supervisor.training_ends import training_is_over
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.words import NOT_DONE

LOOK_S = 0.2
LEAVING_S = 10.0  # at least, from the receipt to the end of the process, which still has to flush and to close
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation ended."""

    process: Ended
    cleared: Cleared
    killed: bool = False  # we had to end its first process by signals
    interrupted: bool = False  # a person or the system asked for the end: Ctrl-C, or a signal to us


@dataclass(slots=True)
class _Pending:
    """A plan that waits for the training to leave."""

    plan: Plan
    deadline_s: float
    answered: bool = False


class GenerationWatch:
    """Watches one generation. Use once."""

    def __init__(
        self,
        documents: RunDocuments,
        number: int,
        process: TrainingProcess | AdoptedProcess,
        descendants: Descendants,
        terminal: Terminal,
        inbox: SignalInbox,
        output: TerminalOutput,
        each_round: Callable[[], None],
        kill_timeouts: KillTimeouts,
        report_expired: Callable[[Plan, str], None] = lambda *_: None,
    ) -> None:
        self._documents = documents
        self._next = number + 1
        self._process = process
        self._descendants = descendants
        self._terminal = terminal
        self._inbox = inbox
        self._output = output
        self._each_round = each_round
        self._kill_timeouts = kill_timeouts
        self._report_expired = report_expired
        self._pending: _Pending | None = None
        self._seen: tuple[int, int] | None = None  # inode and time of the plan file that was read last
        self._asked_s: float | None = None  # when a signal to end was passed on
        self._interrupted = False
        self._reported: set[str] = set()  # errors that were printed once

    def until_gone(self) -> Ending:
        """Blocks. Where a plan or a person wanted the training to leave, none of its processes is left behind."""
        while True:
            self._inbox.wait(LOOK_S, self._process.handle.descriptor)
            for number in self._inbox.take():
                self._carry_out(number)
            status = self._process.status()
            if isinstance(status, Ended):
                return self._ending(status)
            if isinstance(status, Paused):
                self._paused(status)
            self._look_at_terminal()
            self._look_at_plan()
            self._each_round()
            if self._overdue():
                return self._ending(None)

    # signals and the terminal

    def _carry_out(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._output.leave_terminal()
        elif number == signal.SIGTSTP:
            self._process.signal(signal.SIGSTOP)  # it has a session of its own, where SIGTSTP would do nothing
            self._suspend()
        elif number in PASSED_ON:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Send it once to the training's group, as the terminal would have done. A second SIGTERM is not passed on."""
        if number == signal.SIGTERM and self._asked_s is not None:
            return
        self._process.signal(number)
        if number in ENDING:
            self._interrupted = True
        if number == signal.SIGTERM:
            self._process.signal(signal.SIGCONT)
            self._asked_s = time.monotonic()
            self._output.notify("Passed SIGTERM on to the training.")

    def _paused(self, status: Paused) -> None:
        if not self._process.shares_terminal or status.signal not in JOB_CONTROL:
            return  # by a debugger or kill -STOP: whoever did it continues it
        if status.signal == signal.SIGTSTP or not self._terminal.ours:
            self._suspend()
        else:  # it used the terminal before it was in the foreground
            self._continue()

    def _suspend(self) -> None:
        """Stop as the training did, so that the shell shows its prompt. A plan's deadline is moved by as long."""
        self._terminal.take_back(self._process.pid)
        began_s = time.monotonic()
        self._inbox.stop_here()
        if self._pending:
            self._pending.deadline_s += time.monotonic() - began_s
        self._continue()

    def _continue(self) -> None:
        if self._process.shares_terminal:
            self._terminal.give(self._process.pid)
        self._process.signal(signal.SIGCONT)

    def _look_at_terminal(self) -> None:
        if self._output.hung_up:
            self._output.leave_terminal()
        if self._process.shares_terminal:
            self._terminal.give(self._process.pid)  # `fg` of a running job gives it to us without a signal

    # the plan

    def _look_at_plan(self) -> None:
        """Never stops the training for a document that can't be read."""
        try:
            if self._file_changed() and (plan := self._documents.plan(self._next)):
                self._pending = _Pending(plan, time.monotonic() + plan.grace_s)
            if self._pending and not self._pending.answered:
                self._look_at_receipt(self._pending)
        except (OSError, RunFolderError) as error:
            if str(error) not in self._reported:
                self._reported.add(str(error))
                self._output.notify(f"{error}. No generation will be started from this plan.", Severity.WARNING)

    def _look_at_receipt(self, pending: _Pending) -> None:
        receipt = self._documents.receipt(pending.plan.order)
        if receipt is not None and receipt.outcome in NOT_DONE:
            self._output.notify(
                f"The training {receipt.outcome} the order ({receipt.detail}). Training continues.", Severity.WARNING
            )
            self._pending = None
        elif receipt is not None:
            pending.answered = True
            pending.deadline_s = max(pending.deadline_s, time.monotonic() + LEAVING_S)

    def _expired(self, pending: _Pending) -> bool:
        """True where the plan's training is over, and its process goes on: with another one, which is not its business.

        The plan is then kept under a name that nobody carries out.
        """
        training, generation = pending.plan.training, self._next - 1
        if pending.answered or not training_is_over(self._documents.folder, training, generation):
            return False
        self._pending = None
        detail = f"training {training} ended before it saw the order"
        self._output.notify(
            f"Plan {pending.plan.id} has expired: {detail}. Nothing is stopped for it, and the run continues.",
            Severity.WARNING,
        )
        try:
            self._documents.void_plan(self._next)
            self._report_expired(pending.plan, detail)
        except OSError as error:  # a full disk must not take the supervision of the rest with it
            self._output.notify(f"Cannot put the plan aside ({error.strerror}).", Severity.WARNING)
        return True

    def _file_changed(self) -> bool:
        try:
            found = self._documents.folder.plan(self._next).stat()
        except FileNotFoundError:
            return False
        seen, self._seen = self._seen, (found.st_ino, found.st_mtime_ns)
        return seen != self._seen

    # the end

    def _overdue(self) -> bool:
        now_s = time.monotonic()
        if self._asked_s is not None and now_s > self._asked_s + self._kill_timeouts.leave_s:
            return True
        return self._pending is not None and now_s > self._pending.deadline_s and not self._expired(self._pending)

    def _ending(self, process: Ended | None) -> Ending:
        """End what is left, if an end was wanted. `process` is None where the first process has to be ended too."""
        self._look_at_plan()  # a plan of the last moment counts
        wanted = self._pending is not None or self._asked_s is not None
        cleared = Cleared("", ())
        killed = process is None
        if wanted:
            if killed:
                self._output.notify(
                    "The training did not leave in time. Sending SIGTERM to all its processes, then SIGKILL.",
                    Severity.WARNING,
                )
            patience_s = 0.0 if killed else self._kill_timeouts.orphans_s
            cleared = clear(self._descendants, self._kill_timeouts, patience_s, self._while_ending)
        if process is None:
            status = self._process.status()
            process = status if isinstance(status, Ended) else Ended(None, None)
        if process.signal == signal.SIGINT or process.code == 128 + signal.SIGINT:
            self._interrupted = True
        self._terminal.take_back(self._process.pid)
        return Ending(process, cleared, killed, self._interrupted)

    def _while_ending(self) -> None:
        """In each round of ending the processes: reap, and lose no signal to us."""
        self._process.status()
        self._each_round()
        for number in self._inbox.take():
            if number == signal.SIGHUP:
                self._output.leave_terminal()
            elif number in ENDING:
                self._interrupted = True
