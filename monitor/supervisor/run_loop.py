"""The one loop over the generations of a run: start, watch, write down how it ended, decide, start the next.

The daemon asks for a relaunch through a plan in the run folder. This loop decides and acts, with or without a daemon.
"""

from __future__ import annotations

import ctypes
import os
import signal

import msgspec

from monitor.core.format import plural, saved_place
from monitor.core.model import (
    GenerationExited,
    GenerationStarted,
    ReceiptFound,
    RunEnded,
    Severity,
    SupervisorChanged,
)
from monitor.core.model.outcomes import OUTCOME_TEXT
from monitor.errors import EXIT_CONFIG, EXIT_HELD
from monitor.supervisor.announcer import Announcer
from monitor.supervisor.branch_swap import swap_branch
from monitor.supervisor.decide import Decision, decide, may_have_died
from monitor.supervisor.descendants import Cleared, Descendants
from monitor.supervisor.exit_context import collect, receipt_of, write_receipt
from monitor.supervisor.generation_watch import ENDING, Ending, GenerationWatch
from monitor.supervisor.launch import AdoptedProcess, Ended, TrainingProcess, environment_for, reap_orphans
from monitor.supervisor.posix_signals import SignalInbox, die_of
from monitor.supervisor.process import Handle, environment
from monitor.supervisor.recorded_environment import restored
from monitor.supervisor.restart_question import RestartQuestion
from monitor.supervisor.run_documents import RunDocuments, still_runs
from monitor.supervisor.run_options import RunOptions
from monitor.supervisor.stack_requests import StackRequests
from monitor.supervisor.start_errors import Held, NotResumed, StartError
from monitor.supervisor.status_line import StatusLine
from monitor.supervisor.terminal import Terminal, TerminalOutput, keep_running_in_the_background, print_error
from monitor.supervisor.timeline import Timeline
from trainer_hooks.wire.document_io import RunFolderError, write
from trainer_hooks.wire.plan import Plan
from trainer_hooks.wire.run_documents import Generation, RunOutcome
from trainer_hooks.wire.words import OrderOutcome

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
NEXT = Decision(None, "")
LAST_LINES_S = 3.0  # for the daemon's last lines on the terminal; a daemon that takes nothing has none
NOTHING_CLEARED = Cleared("", ())


class Supervisor:
    """Owns one run from its lock to its end. Use once."""

    def __init__(self, documents: RunDocuments, options: RunOptions) -> None:
        self._documents = documents
        self._folder = documents.folder
        self._spec = documents.spec
        self._kill_timeouts = options.kill_timeouts
        self._adopting, self._resume_by = options.adopt, options.resume_by
        self._environment = restored(self._folder, os.environ) if options.resume_by else dict(os.environ)
        self._output = TerminalOutput(self._folder.output_log, options.quiet)
        self._terminal = Terminal()
        self._announcer = Announcer(self._spec.run, self._output, options.port, options.daemon_argv)
        self._stack_requests = StackRequests(self._spec.run, self._folder, self._announcer.send)
        self._timeline = Timeline(self._spec.run, self._output, from_now=options.adopt or bool(options.resume_by))
        self._status_line = StatusLine(self._spec.run, self._output)
        self._inbox = SignalInbox()
        self._question = RestartQuestion(documents, self._announcer, self._inbox, self._output, options)
        self._process: TrainingProcess | AdoptedProcess | None = None
        self._descendants: Descendants | None = None  # of the present generation
        self._last = Ended(None, None)

    def supervise(self) -> int:
        """Blocks until the run has ended. If Ctrl-C ended the training, it ends us as well and this does not return."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        keep_running_in_the_background()
        self._output.notify(f"Run {self._spec.run}. Its folder is {self._folder.root}")
        self._announcer.start()
        self._announcer.wait_ready()
        self._timeline.start()
        self._status_line.start()
        try:
            decision = self._run_generations()
        except NotResumed as refused:
            return self._leave(refused)
        except Held as held:
            decision = Decision(RunOutcome.HELD, str(held), EXIT_HELD)
        except (OSError, RunFolderError, StartError) as error:
            detail = f"cannot read or write the run folder {self._folder.root}: {error}"
            decision = Decision(RunOutcome.HELD, detail, EXIT_HELD)
        self._end(decision)
        if self._last.signal == signal.SIGINT:
            die_of(signal.SIGINT)
        return decision.code

    def _run_generations(self) -> Decision:
        """Start one generation after the other until a decision ends the run."""
        number, decision = 0, NEXT
        if self._resume_by:
            number, decision = self._resume()
        elif self._adopting:
            number, decision = self._take_over()
        while decision.relaunch:
            if any(asked in ENDING for asked in self._inbox.take()):
                detail = "a person or the system asked it to end before the next generation began"
                return Decision(RunOutcome.STOPPED, detail, 128 + signal.SIGINT)
            number += 1
            generation, process = self._launch(number)
            decision = self._conclude(number, self._watch(generation, process))
        return decision

    # taking over

    def _take_over(self) -> tuple[int, Decision]:
        """The last generation of the run, and what follows once it has ended."""
        last = self._documents.last()
        if last is None or last.pid == 0:  # its supervisor died before anything was started
            return (last.number - 1 if last else 0), NEXT
        handle = Handle.take(last.pid, lambda _pid: still_runs(last))
        if handle is not None:
            return last.number, self._conclude(last.number, self._watch_adopted(last, handle))
        if self._documents.ended.exists():
            self._output.notify(f"The run had ended. Continuing it with generation {last.number + 1}.")
            self._documents.set_end_aside(last.number + 1)
            return last.number, NEXT
        self._output.notify(f"Generation {last.number} has ended. Deciding by its documents what follows.")
        self._announce_generation(last)
        return last.number, self._conclude(last.number, self._ending_of(last))

    def _resume(self) -> tuple[int, Decision]:
        """The last generation that was started, and that a plan from the newest clean state follows it."""
        last = self._documents.last_started()
        number = last.number if last is not None else 0
        if last is not None:
            self._announce_generation(last)
            decision = self._conclude(number, self._ending_of(last), self._resume_by)
        else:  # nothing of it was ever started
            decision = NEXT
        self._documents.set_end_aside(number + 1)
        return number, decision

    def _ending_of(self, last: Generation) -> Ending:
        """That of a generation which ended while nobody looked."""
        self._descendants = Descendants(None, last.nonce, adopting=False, ours=self._other_children)
        known = self._documents.exit(last.number)
        return Ending(Ended(known.code, known.signal) if known else Ended(None, None), NOTHING_CLEARED)

    def _watch_adopted(self, last: Generation, handle: Handle) -> Ending:
        self._environment = environment(last.pid) or self._environment
        self._output.notify(f"Took over generation {last.number}, pid {last.pid}. Training was not interrupted.")
        self._announce_generation(last)
        self._announcer.send(SupervisorChanged(self._spec.run, os.getpid()))
        return self._watch(last, AdoptedProcess(handle))

    # one generation

    def _launch(self, number: int) -> tuple[Generation, TrainingProcess]:
        """Start generation `number`, from its plan if it has one. Raises Held."""
        try:
            plan = self._documents.plan(number)
        except RunFolderError as error:
            raise Held(str(error)) from error
        if plan is not None:
            self._swap_branch(plan, number - 1)
        generation = self._documents.allocate(number)
        settings = environment_for(self._spec, self._folder, generation, self._environment)
        process = TrainingProcess(self._spec, settings, on_terminal=self._terminal.present)
        try:
            generation = self._documents.write_start(generation, process.pid)
        except OSError:
            process.abandon()
            raise
        self._terminal.give(process.pid)
        process.let_go()
        self._announce_generation(generation)
        return generation, process

    def _swap_branch(self, plan: Plan, left: int) -> None:
        if plan.checkpoint is None and plan.snapshot is not None:  # of the first epoch: nothing was saved after it
            self._output.notify(f"Generation {left + 1} starts from {saved_place(*plan.snapshot.holds)}.")
            return
        branch = swap_branch(self._folder, plan, left)
        for remark in branch.remarks:
            self._output.notify(remark, Severity.WARNING)
        if plan.target is not None:
            aside = f" Moved {plural(len(branch.aside), 'file')} written after it to abandoned-g{left}/."
            self._output.notify(
                f"Generation {left + 1} starts from {saved_place(*plan.target.holds)}.{aside if branch.aside else ''}"
            )

    def _watch(self, generation: Generation, process: TrainingProcess | AdoptedProcess) -> Ending:
        self._process = process
        descendants = self._descendants = Descendants(
            process.handle, generation.nonce, isinstance(process, TrainingProcess), self._other_children
        )
        return GenerationWatch(
            self._documents,
            generation.number,
            process,
            descendants,
            self._terminal,
            self._inbox,
            self._output,
            self._each_round,
            self._kill_timeouts,
            self._expired,
        ).until_gone()

    def _expired(self, plan: Plan, detail: str) -> None:
        """The order of a plan will never be carried out: write it down, and tell the daemon."""
        receipt = receipt_of(plan, plan.generation - 1, OrderOutcome.REFUSED, detail)
        write(self._folder.receipt(plan.order), receipt)
        self._announcer.send(ReceiptFound(self._spec.run, receipt))

    def _other_children(self) -> set[int]:
        """Our children that are not processes of the training: the daemon, if we started it."""
        child = self._announcer.keeper.child
        return {child} if child else set()

    def _each_round(self) -> None:
        self._stack_requests.check()
        others = self._other_children()
        reap_orphans(others | {self._process.pid} if self._process else others)

    def _conclude(self, number: int, ending: Ending, resumed_by: str = "") -> Decision:
        """Generation `number` has ended: decide what follows, write it down, and tell the daemon and the user."""
        self._last = ending.process
        context = collect(self._documents, number, ending)
        if resumed_by or (self._spec.act and may_have_died(context)):
            context = self._question.with_plan(context, self._descendants, self._each_round, resumed_by)
        if resumed_by and context.plan is None and not (context.survivors or context.plan_error):
            self._output.notify("There is no clean state to go on from. Starting the command from its beginning.")
            return NEXT
        decision = decide(context)
        over = msgspec.structs.replace(context.exit, outcome=context.outcome)
        if decision.receipt and context.plan is not None:
            receipt = write_receipt(self._documents, context.plan, over, decision)
            self._announcer.send(ReceiptFound(self._spec.run, receipt))
        if decision.void:
            self._documents.void_plan(number + 1)
        write(self._folder.exit(number), over)
        self._announcer.send(GenerationExited(self._spec.run, over, decision.relaunch))
        reason = (decision.brief or decision.detail).rstrip(".")
        self._output.notify(f"Generation {number} {OUTCOME_TEXT[context.outcome]}: {reason}.")
        return decision

    # announcements

    def _announce_generation(self, generation: Generation) -> None:
        self._announcer.send(
            GenerationStarted(self._spec.run, generation.number, generation.nonce, generation.pid, os.getpid())
        )

    def _leave(self, refused: NotResumed) -> int:
        """The run stays as it was."""
        self._status_line.close()
        self._announcer.close()
        self._timeline.close()
        self._inbox.close()
        print_error(str(refused))
        return EXIT_CONFIG

    def _end(self, decision: Decision) -> None:
        """Write down the end of the run and report it."""
        how = decision.how or RunOutcome.HELD
        if how is RunOutcome.HELD:
            self._output.notify(
                f"Run {self._spec.run} is on HOLD: {decision.detail.rstrip('.')}. "
                "Nothing more is started, and all files are kept. "
                f"Remove the cause, then continue with `trainwarden run --adopt {self._spec.run}`.",
                Severity.CRITICAL,
            )
        try:
            self._documents.write_end(how, decision.detail, decision.code)
        except OSError as error:
            self._output.notify(
                f"Cannot write {self._documents.ended} ({error.strerror}). The run has ended all the same.",
                Severity.WARNING,
            )
        self._status_line.close()
        self._announcer.send(RunEnded(self._spec.run, how, decision.detail))
        delivered = self._announcer.close()
        printed = self._timeline.close(LAST_LINES_S if delivered else 0.0)
        if not (delivered and printed):  # else the daemon's timeline has said it
            self._output.notify(f"Run {self._spec.run}: {how}: {decision.detail}")
        self._inbox.close()
