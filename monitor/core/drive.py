"""Drives a core: numbers its inputs and, for a run that is recorded or simulated, its generations and events.

Pure: the time is given. The live daemon, backtests, the bench, and tests feed the core through this file alone.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.core.engine import Core, restored, snapshot
from monitor.core.model import Entry, GenerationStarted, Input, Output, RecordArrived, RunOpened
from monitor.core.state.run import RunState
from trainer_hooks.wire.messages import BatchEnded, Event, EventSent
from trainer_hooks.wire.run_documents import RunSpec


class Driver:
    """Numbers the inputs of one core, from the core's own last one on, or from `above` where that is higher."""

    def __init__(self, core: Core | None = None, *, above: int = 0) -> None:
        """`above`: the number of the journal's last entry, which the core may not have been given."""
        self.core = core or Core()
        self.core.fleet.seq = max(self.core.fleet.seq, above)

    def feed(self, given: Input, now_s: float) -> tuple[Entry, Output]:
        """Feed the next input: its entry for the journal, and what it led to. `now_s`: Unix time, never going back."""
        entry = Entry(self.core.fleet.seq + 1, now_s, given)
        return entry, self.core.feed(entry)


class RunDriver:
    """One run fed to a core as its supervisor and its hooks would. Whoever drives it moves `now_s` (Unix time)."""

    def __init__(
        self,
        run: str,
        *,
        now_s: float = 0.0,
        core: Core | None = None,
        supervisor_pid: int = 0,
        journal: Callable[[Entry], object] | None = None,
    ) -> None:
        """`supervisor_pid` 0: nobody could relaunch it. `journal` is given each entry that the core has taken."""
        self.run, self.now_s = run, now_s
        self.generation = 0
        self._driver = Driver(core)
        self._supervisor_pid, self._journal = supervisor_pid, journal
        self._event_seq: dict[tuple[int, int], int] = {}  # by training and rank

    @property
    def core(self) -> Core:
        return self._driver.core

    @property
    def state(self) -> RunState:
        """The run as the core sees it, once it is opened."""
        return self.core.fleet.runs[self.run]

    def feed(self, given: Input) -> Output:
        """Feed one input at `now_s`."""
        entry, output = self._driver.feed(given, self.now_s)
        if self._journal:
            self._journal(entry)
        return output

    def open(self, spec: RunSpec, policy: str) -> Output:
        """Announce the run. `policy`: JSON, as in RunOpened."""
        return self.feed(RunOpened(spec, policy))

    def start_generation(self, number: int | None = None, pid: int = 1) -> Output:
        """Begin the next generation, or this one; events are numbered from 1 again."""
        self.generation = self.generation + 1 if number is None else number
        self._event_seq.clear()
        nonce = f"g{self.generation}"
        return self.feed(GenerationStarted(self.run, self.generation, nonce, pid, self._supervisor_pid))

    def send(self, record: BatchEnded | Event, rank: int = 0, *, training: int = 1) -> Output:
        """A record of a rank arrives."""
        if isinstance(record, BatchEnded):
            return self.feed(RecordArrived(self.run, self.generation, rank, record, training))
        key = (training, rank)
        seq = self._event_seq[key] = self._event_seq.get(key, 0) + 1
        return self.feed(RecordArrived(self.run, self.generation, rank, EventSent(seq, record), training=training))

    def reload(self) -> None:
        """The daemon ends and starts again: the core is read back from its snapshot."""
        self._driver = Driver(restored(snapshot(self.core)))

    def fork(self) -> RunDriver:
        """Another driver that goes on from here and shares nothing; its entries go to no journal."""
        other = RunDriver(
            self.run, now_s=self.now_s, core=restored(snapshot(self.core)), supervisor_pid=self._supervisor_pid
        )
        other.generation, other._event_seq = self.generation, dict(self._event_seq)
        return other
