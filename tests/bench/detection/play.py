"""Plays steps to contenders at the same time and keeps their alarms. Pure: the time is that of the steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field

from tests.bench.detection.contenders import Alarm, AlarmLevel, Contender
from tests.bench.detection.streams import Arrived, Case, ClockSet, Silence, Step
from trainer_hooks.wire.messages import BatchEnded


@dataclass(frozen=True, slots=True)
class TimedAlarm:
    """An alarm, and when it came."""

    alarm: Alarm
    batch: int  # it came with; the one that was to come next, where it came with none
    waited_s: float  # since the last record


@dataclass
class Outcome:
    """Every alarm of one contender in one case."""

    case: Case
    contender: str
    levels: Sequence[AlarmLevel]  # at which it may raise alarms
    alarms: list[TimedAlarm] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    batches: int = 0  # of rank 0, in the whole case


class Stage:
    """Contenders in the middle of a training. The time between steps passes a second at a time, as the daemon ticks."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self.contenders = list(contenders)
        self.alarms: list[list[TimedAlarm]] = [[] for _ in contenders]
        self.batches = 0
        self._tick_s: float | None = None  # of the next tick
        self._record_s: float | None = None  # of the last record

    def play(self, steps: Iterable[Step]) -> None:
        """Give every step to every contender."""
        for step in steps:
            self._step(step)

    def fork(self) -> Stage:
        """A copy that goes on from here, without alarms so far."""
        other = copy(self)
        other.contenders = [contender.fork() for contender in self.contenders]
        other.alarms = [[] for _ in self.contenders]
        return other

    def outcomes(self, case: Case) -> list[Outcome]:
        """The alarms of this stage, as the outcomes of a case."""
        pairs = zip(self.contenders, self.alarms, strict=True)
        return [Outcome(case, who.name, who.levels, alarms, list(who.defects), self.batches) for who, alarms in pairs]

    def _step(self, step: Step) -> None:
        if isinstance(step, ClockSet) or self._tick_s is None:
            self._tick_s = step.at_s + 1.0
        while self._tick_s <= step.at_s:
            self._tick()
        if isinstance(step, Silence):
            while self._tick_s <= step.at_s + step.seconds:
                self._tick()
            return
        at = self.batches
        if isinstance(step, Arrived):
            if isinstance(step.record, BatchEnded):
                self.batches += step.rank == 0
                at = self.batches - 1
            self._record_s = step.at_s
        for contender, alarms in zip(self.contenders, self.alarms, strict=True):
            if new := contender.take(step):
                alarms.extend(TimedAlarm(alarm, at, 0.0) for alarm in new)

    def _tick(self) -> None:
        assert self._tick_s is not None
        waited_s = self._tick_s - self._record_s if self._record_s is not None else 0.0
        for contender, alarms in zip(self.contenders, self.alarms, strict=True):
            if new := contender.wait(self._tick_s, waited_s):
                alarms.extend(TimedAlarm(alarm, self.batches, waited_s) for alarm in new)
        self._tick_s += 1.0
