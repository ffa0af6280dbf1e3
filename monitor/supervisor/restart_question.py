"""Asks the daemon what follows after a generation has died, and waits for the plan. Waits; asks over HTTP."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from monitor.client.http import Client, ClientError, run_path
from monitor.core.model import GenerationDied
from monitor.core.model.channel import RestartAnswer
from monitor.supervisor.announcer import Announcer
from monitor.supervisor.decide import ExitContext
from monitor.supervisor.descendants import Cleared, Descendants, clear
from monitor.supervisor.exit_context import collect
from monitor.supervisor.generation_watch import ENDING, Ending
from monitor.supervisor.launch import Ended
from monitor.supervisor.posix_signals import SignalInbox
from monitor.supervisor.run_documents import RunDocuments, died_with_machine
from monitor.supervisor.run_options import RunOptions
from monitor.supervisor.start_errors import NotResumed
from monitor.supervisor.terminal import TerminalOutput
from trainer_hooks.wire.document_io import RunFolderError
from trainer_hooks.wire.run_documents import RunSpec
from trainer_hooks.wire.runfolder import control_socket

LOOK_S = 0.1
ANSWER_S = 2.0  # a live daemon answers at once
ARRIVES_S = 15.0  # a daemon that died with the training is back within START_S; then the question is posted
ARRIVES_DOWN_S = 3.0  # a daemon that was away before the death may be back by chance: that is worth no more
WRITTEN_S = 10.0  # from the daemon's answer to the file of the plan: a commit and a write
EXAMINED_S = 300.0  # for a saved state that is being examined: the largest that were measured took a minute


class DaemonAnswer(msgspec.Struct):
    """The part of the daemon's answer about a run that is read."""

    restart: str
    not_restarted: str = ""
    restart_until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """How the question ended."""

    planned: bool  # the plan of the next generation is in the run folder
    reason: str = ""  # why there is none, a clause; empty: the daemon did not say
    decided: bool = False  # the daemon has decided that there is none


class RestartQuestion:
    """The questions about deaths of one run, one after the other."""

    def __init__(
        self,
        documents: RunDocuments,
        announcer: Announcer,
        inbox: SignalInbox,
        output: TerminalOutput,
        options: RunOptions,
    ) -> None:
        self._documents, self._announcer, self._inbox, self._output = documents, announcer, inbox, output
        self._anew, self._kill_timeouts = options.anew, options.kill_timeouts
        self._client = Client(control_socket(), ANSWER_S)

    def with_plan(
        self, context: ExitContext, descendants: Descendants | None, each_round: Callable[[], None], asked_by: str
    ) -> ExitContext:
        """The same with the plan that the daemon made for a generation that died, if it made one. Blocks.

        Then none of its processes is left. `asked_by`: the person who resumes the run; empty: nobody asked. Raises
        NotResumed where a person wants a plan, and there is none.
        """
        answer = self._ask(context, asked_by)
        if asked_by and not answer.planned and not (self._anew and answer.decided):
            raise NotResumed(_not_resumed(self._documents.spec, answer.reason))
        if not answer.planned and not asked_by:
            return context
        cleared, timeouts = Cleared("", ()), self._kill_timeouts
        if descendants is not None:
            cleared = clear(descendants, timeouts, timeouts.orphans_s, each_round)
        over = context.exit
        ending = Ending(Ended(over.code, over.signal), cleared, context.killed)
        now = collect(self._documents, over.number, ending)
        over = msgspec.structs.replace(over, escalation=cleared.escalation or over.escalation)
        return replace(now, exit=over, died=not asked_by, resumed_by=asked_by)

    def _ask(self, context: ExitContext, asked_by: str) -> PlanAnswer:
        """Never waits longer than the daemon has something to wait for. A signal to end is an answer too."""
        run, over = self._documents.spec.run, context.exit
        stale = self._plan_id(over.number + 1) if self._documents.ended.exists() else ""  # it was held with that plan
        arrives_s = ARRIVES_DOWN_S if self._announcer.down and not asked_by else ARRIVES_S
        began_s = time.monotonic()
        until_s = time.time() + arrives_s
        last = self._documents.last_started()
        with_machine = last is not None and last.number == over.number and died_with_machine(last)
        self._announcer.send(GenerationDied(run, over, context.crash, until_s, asked_by, with_machine))
        patience_s = {RestartAnswer.UNKNOWN: arrives_s, RestartAnswer.WAIT: EXAMINED_S, RestartAnswer.PLAN: WRITTEN_S}
        answer, since_s = RestartAnswer.UNKNOWN, began_s
        while self._plan_id(over.number + 1) in ("", stale):
            if self._to_end():
                return PlanAnswer(planned=False, reason="a person or the system asked it to end")
            found = self._answer(run, until_s)
            if found is not None and found.restart == RestartAnswer.NONE:
                return PlanAnswer(planned=False, reason=found.not_restarted, decided=True)
            if found is not None and found.restart != answer and found.restart in patience_s:
                answer, since_s = RestartAnswer(found.restart), time.monotonic()
            if time.monotonic() > since_s + patience_s[answer]:
                return PlanAnswer(planned=False, reason="the daemon did not answer in time")
            self._inbox.wait(LOOK_S)
        return PlanAnswer(planned=True)

    def _plan_id(self, generation: int) -> str:
        """Empty: there is none."""
        try:
            plan = self._documents.plan(generation)
        except RunFolderError as error:  # whoever decides about it says so
            return str(error)
        return plan.id if plan is not None else ""

    def _answer(self, run: str, until_s: float) -> DaemonAnswer | None:
        """None: the daemon does not answer, or its answer is to a question of before."""
        try:
            found = self._client.get(run_path(run), DaemonAnswer)
            return found if found.restart_until_s == until_s else None
        except ClientError:  # the announcer brings it back, and the time is limited
            return None

    def _to_end(self) -> bool:
        taken = self._inbox.take()
        if signal.SIGHUP in taken:
            self._output.leave_terminal()
        return any(number in ENDING for number in taken)


def _not_resumed(spec: RunSpec, reason: str) -> str:
    """The sentence for a person whose run can't be resumed."""
    again = shlex.join(("trainwarden", "run", "--", *spec.argv))
    return (
        f"run {spec.run!r} can't be resumed: {reason or 'no state to go on from was found'}. Nothing was started. "
        f"To start it anew, in {spec.cwd}: {again}"
    )
