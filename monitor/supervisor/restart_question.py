"""Asks the daemon what follows after a generation has died, and waits for the plan. Waits; asks over HTTP."""

from __future__ import annotations

import shlex
import signal
import time
from dataclasses import dataclass

import msgspec

from monitor.client.http import Client, ClientError, run_path
from monitor.core.model import GenerationDied
from monitor.core.model.channel import RestartAnswer
from monitor.supervisor.announcer import Announcer
from monitor.supervisor.decide import ExitContext
from monitor.supervisor.generation_watch import ENDING
from monitor.supervisor.posix_signals import SignalInbox
from monitor.supervisor.run_documents import RunDocuments
from monitor.supervisor.terminal import TerminalOutput
from trainer_hooks.wire.runfolder import RunSpec, control_socket

LOOK_S = 0.1
ANSWER_S = 2.0  # a live daemon answers at once
ARRIVES_S = 15.0  # a daemon that died with the training is back within START_S; then the question is posted
ARRIVES_DOWN_S = 3.0  # a daemon that was away before the death may be back by chance: that is worth no more
WRITTEN_S = 10.0  # from the daemon's answer to the file of the plan: a commit and a write
EXAMINED_S = 300.0  # for a saved state that is being examined: the largest that were measured took a minute


class Asked(msgspec.Struct):
    """The part of the daemon's answer about a run that is read."""

    restart: str
    not_restarted: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the question ended."""

    planned: bool  # the plan of the next generation is in the run folder
    reason: str = ""  # why there is none, a clause; empty: the daemon did not say
    decided: bool = False  # the daemon has decided that there is none


class RestartQuestion:
    """The question about one death. Use once."""

    def __init__(
        self, documents: RunDocuments, announcer: Announcer, inbox: SignalInbox, output: TerminalOutput, asked_by: str
    ) -> None:
        """`asked_by`: the person who resumes the run; empty: nobody asked."""
        self._documents, self._announcer, self._inbox, self._output = documents, announcer, inbox, output
        self._asked_by = asked_by
        self._client = Client(control_socket(), ANSWER_S)

    def ask(self, context: ExitContext) -> Outcome:
        """Blocks, and never longer than the daemon has something to wait for. A signal to end is an answer too."""
        run, over = self._documents.spec.run, context.exit
        plan = self._documents.folder.plan(over.number + 1)
        arrives_s = ARRIVES_DOWN_S if self._announcer.down and not self._asked_by else ARRIVES_S
        began_s = time.monotonic()
        self._announcer.send(GenerationDied(run, over, context.crash, time.time() + arrives_s, self._asked_by))
        patience_s = {RestartAnswer.UNKNOWN: arrives_s, RestartAnswer.WAIT: EXAMINED_S, RestartAnswer.PLAN: WRITTEN_S}
        answer, since_s = RestartAnswer.UNKNOWN, began_s
        while not plan.exists():
            if self._to_end():
                return Outcome(planned=False, reason="a person or the system asked it to end")
            said = self._answer(run)
            if said is not None and said.restart == RestartAnswer.NONE:
                return Outcome(planned=False, reason=said.not_restarted, decided=True)
            if said is not None and said.restart != answer:
                answer, since_s = RestartAnswer(said.restart), time.monotonic()
            if time.monotonic() > since_s + patience_s[answer]:
                return Outcome(planned=False, reason="the daemon did not answer in time")
            self._inbox.wait(LOOK_S)
        return Outcome(planned=True)

    def _answer(self, run: str) -> Asked | None:
        try:
            return self._client.get(run_path(run), Asked)
        except ClientError:  # the announcer brings it back, and the time is limited
            return None

    def _to_end(self) -> bool:
        taken = self._inbox.take()
        if signal.SIGHUP in taken:
            self._output.leave_terminal()
        return any(number in ENDING for number in taken)


def not_resumed(spec: RunSpec, reason: str) -> str:
    """The sentence for a person whose run can't be resumed."""
    again = shlex.join(("trainwarden", "run", "--", *spec.argv))
    return (
        f"run {spec.run!r} can't be resumed: {reason or 'no state to go on from was found'}. Nothing was started. "
        f"To start it anew, in {spec.cwd}: {again}"
    )
