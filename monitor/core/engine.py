"""The core: entries in, effects out. Touches no clock, file, socket or thread; the same entries give the same effects.

Every entry, whoever sent it, comes through `Core.feed`. What it folds is the whole state
(`Core.fleet`): a snapshot is its encoding, and refolding the journal after a snapshot gives the state, and the effects,
that an uninterrupted core had.
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
    AlertSettled,
    CheckpointExamined,
    CommandGiven,
    Entry,
    Finding,
    FramesRefused,
    GenerationExited,
    GenerationStarted,
    HardwareSeen,
    Input,
    Output,
    PlanWritten,
    Position,
    ReceiptFound,
    RecordArrived,
    RunEnded,
    RunOpened,
    Severity,
    StacksTaken,
    SupervisorChanged,
    Tick,
)
from monitor.core.policy import cure_watch, findings, generations, incidents, stack_collection
from monitor.core.policy.events import on_event, on_examination
from monitor.core.policy.settings import Policy
from monitor.core.policy.transaction import Transaction
from monitor.core.state.fold import fold_batch, fold_setting
from monitor.core.state.hardware import fold_hardware
from monitor.core.state.intervals import fold_phase
from monitor.core.state.run import Fleet, RankState, RunState
from monitor.core.state.view import RunView
from trainer_hooks.wire.messages import BatchEnded, Event, Nonfinite, PhaseChanged, SettingChanged

RETENTION_S = 24 * 3600.0  # a run's state, and with it its series, leave this long after its end
RANKS_MAX = 4096
NOTHING = Output()
DAMAGE = int(Nonfinite.PARAMETER | Nonfinite.BUFFER)
Question = tuple[str, Detector, DetectorConfig]


class Core:
    """State, detectors and policy as one function of their inputs."""

    def __init__(self, fleet: Fleet | None = None, detectors: dict[str, Registered] | None = None) -> None:
        self.fleet = fleet or Fleet()
        self._detectors = load_all() if detectors is None else detectors
        self._policies: dict[str, Policy] = {}
        self._history_batches: dict[str, int] = {}  # by policy: how far back its detectors count non-finite batches
        self._questions: dict[tuple[str, Moment, int], list[Question]] = {}

    def feed(self, entry: Entry) -> Output:
        """Fold one entry in; what it led to.

        Entries come in the order of their `seq`; one seen before is passed over.
        """
        if entry.seq <= self.fleet.seq:
            return NOTHING
        self.fleet.seq = entry.seq
        self.fleet.now_s = max(self.fleet.now_s, entry.now_s)
        if isinstance(entry.input, Tick):
            return self._tick()
        if isinstance(entry.input, RunOpened):
            return self._open(entry.input)
        run = self.fleet.runs.get(entry.input.run)
        if run is None:
            return NOTHING
        tx = self._turn(run)
        try:
            self._dispatch(tx, entry.input)
        except Exception as error:  # noqa: BLE001 - our own defect; one input must not end the watch over every run
            run.totals.defects += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}"
            tx.notify(f"a defect of trainwarden, please report it: {what}", Severity.CRITICAL)
        return Output(tx.effects, tx.findings)

    def _turn(self, run: RunState) -> Transaction:
        policy = self._policies.get(run.policy)
        if policy is None:
            policy = self._policies[run.policy] = Policy.model_validate_json(run.policy)
            self._history_batches[run.policy] = policy.detectors.nonfinite_history_batches()
        return Transaction(run, policy, self.fleet.now_s)

    def _open(self, event: RunOpened) -> Output:
        known = self.fleet.runs.get(event.spec.run)
        if known is None:
            self.fleet.runs[event.spec.run] = RunState(spec=event.spec, policy=event.policy, opened_s=self.fleet.now_s)
        return NOTHING

    def _tick(self) -> Output:
        output = Output([], [])
        for name, run in list(self.fleet.runs.items()):
            if run.ended_s is not None and self.fleet.now_s - run.ended_s > RETENTION_S:
                del self.fleet.runs[name]
                continue
            tx = self._turn(run)
            incidents.on_tick(tx)
            stack_collection.on_tick(tx)
            if run.alive and not run.training_over:
                self._tick_of(tx)
            output.effects.extend(tx.effects)
            output.findings.extend(tx.findings)
        return output

    def _tick_of(self, tx: Transaction) -> None:
        """Ask what only time can tell, of rank 0."""
        run = tx.run
        run.idle_ticks += 1
        for each in run.ranks.values():
            each.idle_ticks += 1
        rank = run.ranks.get(0)
        if rank is not None:
            at = rank.last.position if rank.last else Position(run.generation, 1, 0, 0)
            view = RunView(rank, at, 0, False, run_state=run, now_s=self.fleet.now_s)
            findings.on_findings(tx, self._ask_all(tx, Moment.TICK, view))

    def _dispatch(self, tx: Transaction, given: Input) -> None:
        match given:
            case RecordArrived():
                self._record(tx, given)
            case GenerationStarted():
                generations.on_generation_started(tx, given.number, given.nonce, given.pid, given.supervisor_pid)
            case GenerationExited():
                _exited(tx, given)
            case RunEnded():
                generations.on_run_ended(tx, given.how, given.detail)
            case SupervisorChanged():
                generations.on_supervisor_changed(tx, given.supervisor_pid)
            case CommandGiven():
                generations.on_command(tx, given)
            case CheckpointExamined():
                on_examination(tx, given)
                self._examined(tx, given.manifest.digest)
            case HardwareSeen():
                self._hardware(tx, given)
            case PlanWritten():
                incidents.on_plan_written(tx, given.plan, given.error)
            case ReceiptFound():
                incidents.on_answer(tx, given.receipt.order, given.receipt.outcome, given.receipt.detail)
            case AlertSettled() | FramesRefused():
                _count(tx.run, given)
            case StacksTaken():
                stack_collection.on_taken(tx, given)

    def _record(self, tx: Transaction, given: RecordArrived) -> None:
        run = tx.run
        if given.generation != run.generation:
            run.totals.frames_refused += 1
            return
        if given.rank not in run.ranks and len(run.ranks) >= RANKS_MAX:
            run.totals.frames_refused += 1
            return
        rank = run.ranks.get(given.rank)
        if rank is None:
            rank = run.ranks[given.rank] = RankState(given.rank)
        run.idle_ticks = rank.idle_ticks = 0
        if isinstance(given.record, BatchEnded):
            self._batch(tx, rank, given.record)
        elif given.record.seq > rank.event_seq:
            rank.event_seq = given.record.seq
            self._event(tx, rank, given.record.body)

    def _batch(self, tx: Transaction, rank: RankState, batch: BatchEnded) -> None:
        before = rank.counts.batches
        if before == 0 and rank.rank == 0 and batch.counts.batches > 0:
            generations.on_first_batch(tx)
        bad = fold_batch(tx.run, rank, batch, self.fleet.now_s, self._history_batches[tx.run.policy])
        new = batch.counts.batches - before
        if new <= 0:
            return
        if rank.rank == 0:
            cure_watch.on_batch(tx, batch, new=new, bad=bad)
        nonfinite = bad or batch.nonfinite & DAMAGE
        position = rank.last.position if rank.last else Position(tx.run.generation, batch.epoch, batch.batch, 0)
        view = RunView(rank, position, batch.nonfinite, batch.cured, batch, None, tx.run, self.fleet.now_s)
        found = self._ask_all(tx, Moment.NONFINITE if nonfinite else Moment.BATCH, view)
        if found:
            findings.on_findings(tx, found)

    def _event(self, tx: Transaction, rank: RankState, event: Event) -> None:
        """Fold what signals must know of, let the policy fold the rest, then ask."""
        run = tx.run
        if isinstance(event, SettingChanged):
            fold_setting(run, event)
        elif isinstance(event, PhaseChanged) and rank.rank == 0:
            fold_phase(run, event, self.fleet.now_s)
        on_event(tx, rank, event)
        at = rank.last.position if rank.last else Position(run.generation, 1, 0, 0)
        view = RunView(rank, at, 0, False, None, event, run, self.fleet.now_s)
        findings.on_findings(tx, self._ask_all(tx, Moment.EVENT, view))

    def _examined(self, tx: Transaction, digest: str) -> None:
        """Ask about a checkpoint whose verdict has arrived."""
        run, checkpoint = tx.run, next((c for c in tx.run.checkpoints if c.digest == digest), None)
        rank = run.ranks.get(0)
        if rank is not None and checkpoint is not None:
            at = rank.last.position if rank.last else Position(run.generation, 1, 0, 0)
            view = RunView(rank, at, 0, False, run_state=run, now_s=self.fleet.now_s, examined=checkpoint)
            findings.on_findings(tx, self._ask_all(tx, Moment.EVENT, view))

    def _hardware(self, tx: Transaction, seen: HardwareSeen) -> None:
        """Fold a reading in, and ask while there is a training it can matter to."""
        run = tx.run
        fold_hardware(run.hardware, seen, run.generation, self.fleet.now_s)
        rank = run.ranks.get(0)
        if rank is not None and run.alive and not run.training_over:
            at = rank.last.position if rank.last else Position(run.generation, 1, 0, 0)
            view = RunView(rank, at, 0, False, run_state=run, now_s=self.fleet.now_s)
            findings.on_findings(tx, self._ask_all(tx, Moment.HARDWARE, view))

    def _ask_all(self, tx: Transaction, moment: Moment, view: RunView) -> list[Finding]:
        """Every answer to this moment that is a finding. A detector that raises is switched off, and said so."""
        told = EVERYTHING if view.batch is None else available_in(view.batch)
        key = (tx.run.policy, moment, told)
        questions = self._questions.get(key)
        if questions is None:
            questions = self._questions[key] = self._enabled(tx.policy, moment, told)
        found, off = [], tx.run.switched_off
        for name, detector, config in questions:
            if off and name in off:
                continue
            try:
                finding = detector(view, config)
            except Exception as error:  # noqa: BLE001 - it may come from anywhere; it must not take the core with it
                self._switch_off(tx, name, error)
                continue
            if finding is not None:
                found.append(finding)
        return found

    def _enabled(self, policy: Policy, moment: Moment, told: int) -> list[Question]:
        """Who is to be asked at this moment, where a batch tells of no more than `told`."""
        settings = policy.detectors.by_name()
        asked = [one for one in self._detectors.values() if one.moment is moment and one.needs & told == one.needs]
        return [(one.name, one.detector, settings[one.name]) for one in asked if settings[one.name].enabled]

    def _switch_off(self, tx: Transaction, name: str, error: Exception) -> None:
        tx.run.switched_off.append(name)
        tx.notify(
            f"detector {name} raised {type(error).__name__}: {error}; it is switched off for this run",
            Severity.CRITICAL,
        )


def _exited(tx: Transaction, given: GenerationExited) -> None:
    vanished = tx.run.supervisor_pid == 0 and tx.run.alive
    generations.on_generation_exited(tx, given)
    if vanished:
        generations.on_vanished(tx)


def _count(run: RunState, given: AlertSettled | FramesRefused) -> None:
    if isinstance(given, FramesRefused):
        run.totals.frames_refused += given.count
        return
    key = f"{given.receiver}/{given.outcome}"
    run.totals.alerts[key] = run.totals.alerts.get(key, 0) + 1


def snapshot(core: Core) -> bytes:
    """The whole state as bytes."""
    return msgspec.msgpack.encode(core.fleet)


def restored(data: bytes) -> Core:
    """A core from a snapshot. Raises msgspec.DecodeError for bytes that are none of this version."""
    return Core(msgspec.msgpack.decode(data, type=Fleet))
