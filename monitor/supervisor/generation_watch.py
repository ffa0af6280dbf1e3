"""One generation, from its start until all of it is gone: signals, Ctrl-Z, a plan's deadline, the ladder. Waits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from monitor.supervisor.descendants import Cleared, Family, KillTimeouts, clear
from monitor.supervisor.launch import AdoptedTraining, Gone, Stopped, Training
from monitor.supervisor.posix_signals import PASSED_ON, Inbox
from monitor.supervisor.run_documents import Ledger
from monitor.supervisor.terminal import Terminal, Voice
from trainer_hooks.wire.runfolder import Plan, RunFolderError

LOOK_S = 0.2
LEAVING_S = 10.0  # at the least, from the receipt to the end of the process: it still has to flush and to close
JOB_CONTROL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation came to its end."""

    gone: Gone
    cleared: Cleared
    killed: bool  # its first process was still there when the ladder was put up
    interrupted: bool  # somebody asked for the end: Ctrl-C, or a signal to us


@dataclass(slots=True)
class _Pending:
    """A plan that waits for the training to leave."""

    plan: Plan
    deadline_s: float
    answered: bool = False


class Watch:
    """Supervises one generation. Use once."""

    def __init__(
        self,
        ledger: Ledger,
        number: int,
        training: Training | AdoptedTraining,
        family: Family,
        terminal: Terminal,
        inbox: Inbox,
        voice: Voice,
        reap: Callable[[], None],
        kill_timeouts: KillTimeouts,
    ) -> None:
        self._ledger = ledger
        self._next = number + 1
        self._training = training
        self._family = family
        self._terminal = terminal
        self._inbox = inbox
        self._voice = voice
        self._reap = reap
        self._kill_timeouts = kill_timeouts
        self._pending: _Pending | None = None
        self._seen: tuple[int, int] | None = None  # inode and time of the plan file that was read last
        self._asked_s: float | None = None  # when a signal to end was passed on
        self._interrupted = False
        self._said: set[str] = set()

    def until_gone(self) -> Ending:
        """Blocks. Nothing of the launch is left behind where a plan or a person wanted it to leave."""
        while True:
            self._inbox.wait(LOOK_S, self._training.handle.descriptor)
            for number in self._inbox.take():
                self._obey(number)
            status = self._training.status()
            if isinstance(status, Gone):
                return self._ending(status)
            if isinstance(status, Stopped):
                self._stopped(status)
            self._look_at_terminal()
            self._look_at_plan()
            self._reap()
            if self._overdue():
                return self._ending(None)

    # signals and the terminal

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._voice.leave_terminal()
        elif number == signal.SIGTSTP:
            self._training.signal(signal.SIGSTOP)  # a session of its own: nothing gentler can stop it
            self._suspend()
        elif number in PASSED_ON:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Once to its group, as the terminal would have done. Of requests to end only the first SIGTERM counts."""
        if number == signal.SIGTERM and self._asked_s is not None:
            return
        self._training.signal(number)
        if number in ENDING:
            self._interrupted = True
        if number == signal.SIGTERM:
            self._training.signal(signal.SIGCONT)
            self._asked_s = time.monotonic()
            self._voice.notify("asked to end: SIGTERM was passed on to the training")

    def _stopped(self, status: Stopped) -> None:
        if not self._training.shares_terminal or status.signal not in JOB_CONTROL:
            return  # somebody's debugger or kill -STOP: theirs to continue
        if status.signal == signal.SIGTSTP or not self._terminal.ours:
            self._suspend()
        else:  # it touched the terminal before the foreground was its own
            self._continue()

    def _suspend(self) -> None:
        """Stop as the training did, so that the shell gets its prompt; the clock of a plan stands still meanwhile."""
        self._terminal.take_back(self._training.pid)
        began_s = time.monotonic()
        self._inbox.stop_here()
        if self._pending:
            self._pending.deadline_s += time.monotonic() - began_s
        self._continue()

    def _continue(self) -> None:
        if self._training.shares_terminal:
            self._terminal.give(self._training.pid)
        self._training.signal(signal.SIGCONT)

    def _look_at_terminal(self) -> None:
        if self._voice.hung_up:
            self._voice.leave_terminal()
        if self._training.shares_terminal:
            self._terminal.give(self._training.pid)  # `fg` of a running job gives it to us and says nothing

    # the plan

    def _look_at_plan(self) -> None:
        """Whatever is wrong with a paper, the training is not stopped for it."""
        try:
            if self._file_changed() and (plan := self._ledger.plan(self._next)):
                self._pending = _Pending(plan, time.monotonic() + plan.grace_s)
            if self._pending and not self._pending.answered:
                self._look_at_receipt(self._pending)
        except (OSError, RunFolderError) as error:
            if str(error) not in self._said:
                self._said.add(str(error))
                self._voice.notify(f"{error}: no generation will be started from it", "warning")

    def _look_at_receipt(self, pending: _Pending) -> None:
        receipt = self._ledger.receipt(pending.plan.order)
        if receipt is not None and receipt.outcome in ("refused", "failed"):
            self._voice.notify(f"the training {receipt.outcome} the order: {receipt.detail}; it goes on", "warning")
            self._pending = None
        elif receipt is not None:
            pending.answered = True
            pending.deadline_s = max(pending.deadline_s, time.monotonic() + LEAVING_S)

    def _file_changed(self) -> bool:
        try:
            found = self._ledger.folder.plan(self._next).stat()
        except FileNotFoundError:
            return False
        seen, self._seen = self._seen, (found.st_ino, found.st_mtime_ns)
        return seen != self._seen

    # the end

    def _overdue(self) -> bool:
        now_s = time.monotonic()
        if self._asked_s is not None and now_s > self._asked_s + self._kill_timeouts.leave_s:
            return True
        return self._pending is not None and now_s > self._pending.deadline_s

    def _ending(self, gone: Gone | None) -> Ending:
        """Clear what is left where that was wanted; `gone` is None where the first process has to be made to leave."""
        self._look_at_plan()  # one that came in the last moment counts
        wanted = self._pending is not None or self._asked_s is not None
        cleared = Cleared("", ())
        killed = gone is None
        if wanted:
            if killed:
                self._voice.notify("the training did not leave in time: SIGTERM to all of it, then SIGKILL", "warning")
            cleared = clear(
                self._family, self._kill_timeouts, 0.0 if killed else self._kill_timeouts.orphans_s, self._keep_house
            )
        if gone is None:
            status = self._training.status()
            gone = status if isinstance(status, Gone) else Gone(None, None)
        if gone.signal == signal.SIGINT or gone.code == 128 + signal.SIGINT:
            self._interrupted = True
        self._terminal.take_back(self._training.pid)
        return Ending(gone, cleared, killed, self._interrupted)

    def _keep_house(self) -> None:
        """In each round of the ladder: zombies are asked for, and signals to us are not lost."""
        self._training.status()
        self._reap()
        for number in self._inbox.take():
            if number == signal.SIGHUP:
                self._voice.leave_terminal()
            elif number in ENDING:
                self._interrupted = True
