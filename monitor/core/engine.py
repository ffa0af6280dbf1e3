"""The core: one input in, effects and findings out, in three passes. Touches no clock, file, socket or thread.

Each input is folded into the state, then the detectors are asked, then the policy reacts; never back. The same entries
give the same output. The whole state is `Core.fleet`: a snapshot is its encoding, and refolding the journal after a
snapshot gives the state, and the effects, that an uninterrupted core had.
"""

from __future__ import annotations

import traceback

import msgspec

from monitor.core.detectors import (
    EVERYTHING,
    Detector,
    DetectorConfig,
    Moment,
    Registered,
    available_in,
    load_all,
)
from monitor.core.model import (
    CheckpointExamined,
    Entry,
    Finding,
    HardwareSeen,
    Input,
    Output,
    RunOpened,
    Severity,
    Tick,
)
from monitor.core.policy.react import react
from monitor.core.policy.settings import Policy
from monitor.core.policy.transaction import Transaction
from monitor.core.state.finding_log import log_findings
from monitor.core.state.fold import Folded, fold, forget_ended, open_run
from monitor.core.state.run import Fleet, RunState
from monitor.core.state.view import RunView, view_of
from trainer_hooks.wire.messages import Nonfinite

DAMAGE = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)
NOTHING = Output()
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
        fleet.now_s = max(fleet.now_s, entry.now_s)
        if isinstance(given, RunOpened):
            open_run(fleet, given)
            return NOTHING
        if isinstance(given, Tick):
            return self._tick(given)
        run = fleet.runs.get(given.run)
        return NOTHING if run is None else self._take(run, given)

    def _tick(self, tick: Tick) -> Output:
        forget_ended(self.fleet)
        output = Output([], [])
        for run in self.fleet.runs.values():
            taken = self._take(run, tick)
            output.effects.extend(taken.effects)
            output.findings.extend(taken.findings)
        return output

    def _take(self, run: RunState, given: Input) -> Output:
        """The three passes of one input about one run."""
        tx = Transaction(run, run.training, self._policy(run), self.fleet.now_s)
        try:
            folded = fold(run, given, self.fleet.now_s)
            if isinstance(given, Tick):
                for training in run.trainings.values():
                    self._ask_and_react(tx.of(training), given, Folded(run, training))
            else:
                self._ask_and_react(tx.of(folded.training), given, folded)
        except Exception as error:  # noqa: BLE001 - our own defect; one input must not end the watch over every run
            run.ledger.defects += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}"
            tx.notify(f"a defect of trainwarden, please report it: {what}", Severity.CRITICAL)
        return Output(tx.effects, tx.findings)

    def _ask_and_react(self, tx: Transaction, given: Input, folded: Folded) -> None:
        found: list[Finding] = []
        moment = moment_for(given, folded)
        if moment is not None and (view := view_of(folded, tx.now_s)) is not None:
            found = self._ask(tx, moment, view)
        new = log_findings(tx.training, found) if found else found
        tx.findings.extend(new)
        react(tx, given, folded, found, new)

    def _policy(self, run: RunState) -> Policy:
        policy = self._policies.get(run.policy)
        if policy is None:
            policy = self._policies[run.policy] = Policy.model_validate_json(run.policy)
        return policy

    def _ask(self, tx: Transaction, moment: Moment, view: RunView) -> list[Finding]:
        """The findings of every detector that is asked at this moment. One that raises is switched off, with a line."""
        available = EVERYTHING if view.batch is None else available_in(view.batch)
        key = (tx.run.policy, moment, available)
        questions = self._questions.get(key)
        if questions is None:
            questions = self._questions[key] = self._enabled(tx.policy, moment, available)
        found: list[Finding] = []
        off = tx.run.switched_off
        for name, detector, config in questions:
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

    def _enabled(self, policy: Policy, moment: Moment, available: int) -> list[Question]:
        """Who is asked at this moment, of a batch that has no more than `available`."""
        settings = policy.detectors.by_name()
        asked = [one for one in self._detectors.values() if one.moment is moment and one.needs & available == one.needs]
        return [(one.name, one.detector, settings[one.name]) for one in asked if settings[one.name].enabled]

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
