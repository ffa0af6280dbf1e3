"""The one loop over the generations of a run: starts, waits, stops, relaunches, and writes down what it did.

The daemon asks, through a plan in the run folder; this decides and acts, whether the daemon is there or not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

import msgspec

from monitor.supervisor.announcer import Announcer
from monitor.supervisor.branch_swap import step_back
from monitor.supervisor.decide import Decision, ExitContext, decide
from monitor.supervisor.descendants import Cleared, Family
from monitor.supervisor.generation_watch import ENDING, Ending, Watch
from monitor.supervisor.launch import AdoptedTraining, Gone, Training, environment_for, reap_orphans
from monitor.supervisor.posix_signals import Inbox, die_of
from monitor.supervisor.process import Handle, environment
from monitor.supervisor.run_documents import Ledger, still_runs
from monitor.supervisor.run_options import RunOptions
from monitor.supervisor.stack_requests import StackRequests
from monitor.supervisor.start_errors import HELD, Held, StartError
from monitor.supervisor.terminal import Terminal, Voice, keep_running_in_the_background
from monitor.supervisor.timeline import Timeline
from trainer_hooks.wire.runfolder import Exit, Generation, Plan, Receipt, RunFolderError, write

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Supervisor:
    """Owns one run from its lock to its end. Use once."""

    def __init__(self, ledger: Ledger, options: RunOptions) -> None:
        self._ledger = ledger
        self._folder = ledger.folder
        self._spec = ledger.spec
        self._kill_timeouts = options.kill_timeouts
        self._adopting = options.adopt
        self._environment = dict(os.environ)
        self._voice = Voice(self._folder.output_log, options.quiet)
        self._terminal = Terminal()
        self._announcer = Announcer(self._spec.run, self._voice, options.port, options.daemon_argv)
        self._lookout = StackRequests(self._folder, self._announcer.tell)
        self._timeline = Timeline(self._spec.run, self._voice, from_now=options.adopt)
        self._inbox = Inbox()
        self._training: Training | AdoptedTraining | None = None
        self._last = Gone(None, None)

    def supervise(self) -> int:
        """Blocks until the run has ended; does not return where the training died of Ctrl-C: then neither do we."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        keep_running_in_the_background()
        self._voice.notify(f"run {self._spec.run}, everything about it in {self._folder.root}")
        self._announcer.start()
        self._announcer.wait_ready()
        self._timeline.start()
        try:
            decision = self._live()
        except Held as held:
            decision = Decision("held", str(held), HELD)
        except (OSError, RunFolderError, StartError) as error:
            decision = Decision("held", f"the run's papers can't be kept: {error}", HELD)
        self._end(decision)
        if self._last.signal == signal.SIGINT:
            die_of(signal.SIGINT)
        return decision.code

    def _live(self) -> Decision:
        number, decision = self._take_over() if self._adopting else (0, Decision("", ""))
        while decision.relaunch:
            if any(asked in ENDING for asked in self._inbox.take()):
                return Decision("stopped", "it was asked to end before the next generation began", 128 + signal.SIGINT)
            number += 1
            generation, training = self._launch(number)
            decision = self._settle(number, self._watch(generation, training))
        return decision

    # taking over

    def _take_over(self) -> tuple[int, Decision]:
        """The last generation of the run and what follows it, once it is gone."""
        last = self._ledger.last()
        if last is None or last.pid == 0:  # its supervisor died before anything was started
            return (last.number - 1 if last else 0), Decision("", "")
        handle = Handle.take(last.pid, lambda _pid: still_runs(last))
        if handle is not None:
            return last.number, self._settle(last.number, self._watch_adopted(last, handle))
        if self._ledger.ended.exists():
            self._voice.notify(f"the run had ended; going on with generation {last.number + 1}")
            self._ledger.ended.rename(self._ledger.ended.with_name(f"ended-before-{last.number + 1}.json"))
            return last.number, Decision("", "")
        self._voice.notify(f"generation {last.number} is gone; looking at what it left")
        known = self._ledger.exit(last.number)
        gone = Gone(known.code, known.signal) if known else Gone(None, None)
        return last.number, self._settle(last.number, Ending(gone, Cleared("", ()), killed=False, interrupted=False))

    def _watch_adopted(self, last: Generation, handle: Handle) -> Ending:
        self._environment = environment(last.pid) or self._environment
        self._voice.notify(f"took over generation {last.number}, pid {last.pid}: the training did not notice")
        self._announce_generation(last)
        self._announcer.tell("supervisor", {"supervisor_pid": os.getpid()})
        return self._watch(last, AdoptedTraining(handle))

    # one generation

    def _launch(self, number: int) -> tuple[Generation, Training]:
        """Start generation `number`, from its plan if it has one. Raises Held."""
        try:
            plan = self._ledger.plan(number)
        except RunFolderError as error:
            raise Held(str(error)) from error
        if plan is not None:
            self._step_back(plan, number - 1)
        generation = self._ledger.allocate(number)
        settings = environment_for(self._spec, self._folder, generation, self._environment)
        training = Training(self._spec, settings, on_terminal=self._terminal.present)
        try:
            generation = self._ledger.journal_start(generation, training.pid)
        except OSError:
            training.abandon()
            raise
        self._terminal.give(training.pid)
        training.let_go()
        self._announce_generation(generation)
        return generation, training

    def _step_back(self, plan: Plan, left: int) -> None:
        branch = step_back(self._folder, plan, left)
        for note in branch.notes:
            self._voice.notify(note, "warning")
        if plan.checkpoint is not None:
            self._voice.notify(
                f"generation {left + 1} starts from the end of epoch {plan.checkpoint.epoch}; "
                f"condemned files of generation {left} put aside: {len(branch.aside)}"
            )

    def _watch(self, generation: Generation, training: Training | AdoptedTraining) -> Ending:
        self._training = training
        family = Family(training.handle, generation.nonce, isinstance(training, Training), self._not_of_the_launch)
        return Watch(
            self._ledger,
            generation.number,
            training,
            family,
            self._terminal,
            self._inbox,
            self._voice,
            self._keep_house,
            self._kill_timeouts,
        ).until_gone()

    def _not_of_the_launch(self) -> set[int]:
        child = self._announcer.keeper.child
        return {child} if child else set()

    def _keep_house(self) -> None:
        self._lookout.glance()
        self._reap()

    def _reap(self) -> None:
        ours = self._not_of_the_launch()
        reap_orphans(ours | {self._training.pid} if self._training else ours)

    def _settle(self, number: int, ending: Ending) -> Decision:
        """Everything of generation `number` is gone: write down how, and decide what follows."""
        self._last = ending.gone
        over = self._ledger.exit(number) or Exit(
            number=number,
            code=ending.gone.code,
            signal=ending.gone.signal,
            ended_s=time.time(),
            escalation=ending.cleared.escalation,
            asked=ending.interrupted,
        )
        left = self._what_is_left(over, ending)
        decision = decide(left)
        if decision.receipt and left.plan is not None:
            self._write_receipt(left.plan, over, decision)
        if decision.void:
            self._ledger.void_plan(number + 1)
        write(self._folder.exit(number), over)
        if decision.how == "stopped":  # first of all: an exit alone could be taken for a failure, and wake somebody
            self._announcer.tell("ended", {"how": decision.how, "detail": decision.detail})
        self._announcer.tell(
            "generation-exited", {"exit": msgspec.to_builtins(over), "relaunch": decision.relaunch}, present=True
        )
        self._voice.notify(f"generation {number} is over: {decision.detail}")
        return decision

    def _what_is_left(self, over: Exit, ending: Ending) -> ExitContext:
        plan, plan_error = None, ""
        try:
            plan = self._ledger.plan(over.number + 1)
            receipt = self._ledger.receipt(plan.order) if plan else None
        except RunFolderError as error:
            plan_error, receipt = str(error), None
        stops = [
            found
            for found in self._ledger.receipts(over.number)
            if found.outcome == "applied" and not self._folder.adjustment(found.order).exists()
        ]
        return ExitContext(
            exit=over,
            plan=plan,
            plan_error=plan_error,
            receipt=receipt,
            stop=stops[-1] if stops else None,
            killed=ending.killed,
            interrupted=ending.interrupted,
            survivors=", ".join(f"{s.name} (pid {s.pid}, state {s.state})" for s in ending.cleared.survivors),
            barren=self._ledger.barren(over),
        )

    def _write_receipt(self, plan: Plan, over: Exit, decision: Decision) -> None:
        receipt = Receipt(
            order=plan.order,
            generation=over.number,
            outcome=decision.receipt,
            detail=decision.detail,
            epoch=0,
            batch=0,
            read_back={},
            written_s=time.time(),
        )
        write(self._folder.receipt(plan.order), receipt)
        self._announcer.tell("receipt", msgspec.to_builtins(receipt))

    # telling

    def _announce_generation(self, generation: Generation) -> None:
        body = {
            "number": generation.number,
            "nonce": generation.nonce,
            "pid": generation.pid,
            "supervisor_pid": os.getpid(),
        }
        self._announcer.tell("generation-started", body, present=True)

    def _end(self, decision: Decision) -> None:
        if decision.how == "held":
            self._voice.notify(f"HELD: {decision.detail}. Nothing more is started; everything is kept", "critical")
        try:
            self._ledger.journal_end(decision.how, decision.detail, decision.code)
        except OSError as error:
            self._voice.notify(f"{self._ledger.ended}: can't be written ({error.strerror})", "warning")
        self._announcer.tell("ended", {"how": decision.how, "detail": decision.detail})
        told = self._announcer.close()
        self._timeline.close()
        if not told:  # otherwise the daemon's timeline has just said it
            self._voice.notify(f"run {self._spec.run}: {decision.how}")
        self._inbox.close()
