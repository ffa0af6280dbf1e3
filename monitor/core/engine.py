"""The core: one input in, effects and findings out, in three passes. Touches no clock, file, socket or thread.

Each input is folded into the state, then the detectors are asked, then the policy reacts; never back. The same entries
give the same output. The whole state is `Core.fleet`: a snapshot is its encoding, and refolding the journal after a
snapshot gives the state, and the effects, that an uninterrupted core had.
"""

from __future__ import annotations

import traceback

import msgspec
from pydantic import ValidationError

from monitor.core.detectors import (
    Detector,
    DetectorConfig,
    Moment,
    Registered,
    load_all,
)
from monitor.core.model import (
    CheckpointExamined,
    Entry,
    Finding,
    HardwareSeen,
    Input,
    Output,
    RecordArrived,
    RunOpened,
    Severity,
    SilenceSet,
    Tick,
)
from monitor.core.policy.cure_watch import is_quiet
from monitor.core.policy.react import react
from monitor.core.policy.settings import Policy
from monitor.core.policy.transaction import Transaction
from monitor.core.state import clock_steps
from monitor.core.state.finding_log import log_findings
from monitor.core.state.first_batches import learn_first_batch
from monitor.core.state.fold import Folded, fold, forget_ended, open_run
from monitor.core.state.occasions import EVERYTHING, occasions
from monitor.core.state.run import Fleet, RunState
from monitor.core.state.silences import fold_silence, forget_silences
from monitor.core.state.view import RunView, view_of
from trainer_hooks.wire.messages import BatchEnded, Nonfinite

DAMAGE = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)
NOTHING = Output()
POLICIES_MAX = 64  # that are kept read: more than runs train on a host at a time
Question = tuple[str, Detector, DetectorConfig]


class Core:
    """State, detectors and policy as one function of their inputs."""

    def __init__(self, fleet: Fleet | None = None, detectors: dict[str, Registered] | None = None) -> None:
        self.fleet = fleet or Fleet()
        self._detectors = load_all() if detectors is None else detectors
        self._policies: dict[str, Policy] = {}
        self._questions: dict[tuple[str, Moment, int], list[Question]] = {}

    def feed(self, entry: Entry) -> Output:
        """Take one entry; returns what it led to.

        Entries come in the order of their `seq`; one that was taken before is ignored.
        """
        fleet, given = self.fleet, entry.input
        if entry.seq <= fleet.seq:
            return NOTHING
        fleet.seq = entry.seq
        now_s = clock_steps.later(fleet.now_s, entry.now_s)
        went_back, fleet.now_s = now_s < fleet.now_s, now_s
        if went_back:
            clock_steps.put_back(fleet)
        if not isinstance(given, RecordArrived):  # nearly all of them are records
            if isinstance(given, RunOpened):
                open_run(fleet, given)
                return NOTHING
            if isinstance(given, Tick):
                return self._tick(given)
            if isinstance(given, SilenceSet):
                fold_silence(fleet, given)
                return NOTHING
        run = fleet.runs.get(given.run)
        return NOTHING if run is None else self._take(run, given)

    def check_policies(self) -> list[str]:
        """Replace what another version stored and this one rejects: such a run is only watched. Returns what to say."""
        found = ((name, self._read(run)[1]) for name, run in self.fleet.runs.items())
        return [f"run {name}: {unreadable}" for name, unreadable in found if unreadable]

    def _tick(self, tick: Tick) -> Output:
        forget_ended(self.fleet)
        forget_silences(self.fleet)
        output = Output([], [])
        for run in self.fleet.runs.values():
            taken = self._take(run, tick)
            output.effects.extend(taken.effects)
            output.findings.extend(taken.findings)
        return output

    def _take(self, run: RunState, given: Input) -> Output:
        """The three passes of one input about one run."""
        now_s, tx = self.fleet.now_s, None
        policy = self._policies.get(run.policy)
        if policy is None:
            policy, unreadable = self._read(run)
            if unreadable:
                tx = Transaction(run, run.training, policy, now_s)
                tx.notify(unreadable, Severity.CRITICAL)
        try:
            folded = fold(run, given, now_s)
            learn_first_batch(self.fleet, folded)
            if tx is None and folded.batch is not None and self._is_quiet(policy, folded, folded.batch):
                return NOTHING
            tx = tx.of(folded.training) if tx else Transaction(run, folded.training, policy, now_s)
            if isinstance(given, Tick):
                for training in run.trainings.values():
                    self._ask_and_react(tx.of(training), given, Folded(run, training))
            else:
                self._ask_and_react(tx, given, folded)
        except Exception as error:  # noqa: BLE001 - our own defect; one input must not end the watch over every run
            tx = tx or Transaction(run, run.training, policy, now_s)
            run.ledger.defects += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}"
            tx.notify(f"a defect of trainwarden, please report it: {what}", Severity.CRITICAL)
        return Output(tx.effects, tx.findings)

    def _is_quiet(self, policy: Policy, folded: Folded, batch: BatchEnded) -> bool:
        """True for nearly every batch of a healthy training: no detector looks at it, and the policy has no answer."""
        rank, training = folded.rank, folded.training
        if rank is None or folded.bad_batches or batch.nonfinite & DAMAGE:
            return False
        if rank.rank == 0 and not is_quiet(training, policy, batch.counts.batches, folded.new_batches):
            return False
        return not self._asked(folded.run, policy, Moment.BATCH, occasions(rank.learned, batch))

    def _ask_and_react(self, tx: Transaction, given: Input, folded: Folded) -> None:
        found: list[Finding] = []
        moment = moment_for(given, folded)
        if moment is not None and (view := view_of(folded, tx.now_s)) is not None:
            found = self._ask(tx, moment, view)
        new = log_findings(tx.training, found) if found else found
        tx.findings.extend(new)
        react(tx, given, folded, found, new)

    def _read(self, run: RunState) -> tuple[Policy, str]:
        """The policy of the run, and what to notify: one that another version stored may say what this one rejects."""
        unreadable = ""
        try:
            policy = Policy.model_validate_json(run.policy)
        except ValidationError as error:
            policy = Policy(act=False)
            run.policy = policy.model_dump_json()
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            unreadable = (
                f"the stored policy of the run is not valid here ({place}: {problem['msg']}): the run is only watched"
            )
        if len(self._policies) >= POLICIES_MAX:
            self._policies.clear()
            self._questions.clear()
        self._policies[run.policy] = policy
        return policy, unreadable

    def _ask(self, tx: Transaction, moment: Moment, view: RunView) -> list[Finding]:
        """The findings of every detector that is asked at this moment. One that raises is switched off, with a line."""
        bits = EVERYTHING if view.batch is None else occasions(view.learned, view.batch)
        found: list[Finding] = []
        off = tx.run.switched_off
        for name, detector, config in self._asked(tx.run, tx.policy, moment, bits):
            if off and name in off:
                continue
            try:
                finding = detector(view, config)
            except Exception as error:  # noqa: BLE001 - it may come from anywhere; it must not take the core with it
                self._switch_off(tx, name, error)
                continue
            if finding is not None:
                found.append(self._detectors[name].signed(finding))
        return found

    def _asked(self, run: RunState, policy: Policy, moment: Moment, bits: int) -> list[Question]:
        """Who is asked at this moment, where no more than `bits` are set of what a detector may need."""
        key = (run.policy, moment, bits)
        questions = self._questions.get(key)
        if questions is None:
            questions = self._questions[key] = self._enabled(policy, moment, bits)
        return questions

    def _enabled(self, policy: Policy, moment: Moment, bits: int) -> list[Question]:
        settings, asked = policy.detectors.by_name(), list[Question]()
        for one in self._detectors.values():
            config = settings[one.name]
            if one.moment is moment and config.enabled and not one.needs(config) & ~bits:
                asked.append((one.name, one.detector, config))
        return asked

    def _switch_off(self, tx: Transaction, name: str, error: Exception) -> None:
        tx.run.switched_off.append(name)
        tx.notify(
            f"detector {name} raised {type(error).__name__}: {error}; it is switched off for this run",
            Severity.CRITICAL,
        )


def moment_for(given: Input, folded: Folded) -> Moment | None:
    """When this is, for the detectors; None: there is nothing to ask them."""
    if folded.batch is not None:
        return Moment.NONFINITE if folded.bad_batches or folded.batch.nonfinite & DAMAGE else Moment.BATCH
    if folded.event is not None or isinstance(given, CheckpointExamined):
        return Moment.EVENT
    if isinstance(given, Tick | HardwareSeen) and folded.run.trains(folded.training):
        return Moment.TICK if isinstance(given, Tick) else Moment.HARDWARE
    return None


def snapshot(core: Core) -> bytes:
    """The whole state as bytes."""
    return msgspec.msgpack.encode(core.fleet)


def restored(data: bytes) -> Core:
    """A core from a snapshot. Raises msgspec.DecodeError for bytes that are none of this version."""
    return Core(msgspec.msgpack.decode(data, type=Fleet))
