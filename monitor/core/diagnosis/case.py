"""One trouble of a run with the batches around it: all that evidence is read from. Reads state, changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from monitor.core.diagnosis.onset import CALM, Lead, Reference, first_lasting, lead, reference
from monitor.core.diagnosis.robust import level
from monitor.core.diagnosis.signal_samples import LOSS, NORM, Quantity, Read, finite, parts, rates
from monitor.core.model import EpochStatus, Family, Finding, Incident, Position
from monitor.core.model.frameworks import framework_named
from monitor.core.state.blame import Blame, blamed
from monitor.core.state.rows import EpochRow
from monitor.core.state.run import TrainingState
from monitor.core.state.trace import Trace
from trainer_hooks.wire.framework_description import Framework
from trainer_hooks.wire.messages import BatchEnded, Nonfinite, NonfiniteSeen, TrainingStarted

BEFORE_BATCHES = 256  # that what came after is held against
Span = Literal["before", "after", "bad"]
RISES = (Family.LOSS, Family.GRADIENT)  # findings about finite numbers
CLIMB_BATCHES = 3  # out of the usual in a row before it is a rise, and no single event (facts: 3 and more)
TOP_WITHIN_BATCHES = 64  # of the onset: later tops are another timeline
MOST = 0.7  # of the way up, in log space
LAST_BATCHES = 8  # read for how things ended, and for whether the norm was as usual before
FINDINGS_BACK = 1000  # batches before the onset in which another detector's finding has to do with it


@dataclass(frozen=True)
class Case:
    """A trouble: what kind, since which batch, seen on which rank."""

    training: TrainingState
    family: str  # of the finding: a Family
    first: Position  # the first bad batch, as the detectors dated it
    rank: int
    findings: tuple[Finding, ...]

    @cached_property
    def trace(self) -> Trace:
        found = self.training.ranks.get(self.rank) or self.training.ranks.get(0)
        return found.trace if found else Trace()

    @cached_property
    def started(self) -> TrainingStarted | None:
        return self.training.started

    @cached_property
    def recent(self) -> list[BatchEnded]:
        """The batches at hand, oldest first: the last ones, and those around the first bad one if it is long ago."""
        trace = self.trace
        oldest = trace.recent[0].counts.batches if trace.recent else 0
        early = {b.counts.batches: b for b in (*trace.held, *trace.bad) if b.counts.batches < oldest}
        return [*(early[count] for count in sorted(early)), *trace.recent]

    @cached_property
    def start(self) -> Position:
        """The first bad batch; of a slow rise, which its detector dates to where it was nothing yet, the first to see.

        Where no batch from the detector's own date on is out of the usual for long, that date.
        """
        if self.family not in RISES:
            return self.first
        early = [b for b in self.recent if b.counts.batches < self.first.count]
        later = [b for b in self.recent if b.counts.batches >= self.first.count]
        found = first_lasting(later, reference(early, self._rising))
        return self.first if found is None else self._position(found)

    @cached_property
    def before_first(self) -> list[BatchEnded]:
        """Batches before the first bad one, oldest first."""
        return [b for b in self.recent if b.counts.batches < self.start.count]

    @property
    def _rising(self) -> list[Quantity]:
        return [NORM, LOSS, *self.parts]

    def _position(self, batch: BatchEnded) -> Position:
        return Position(self.first.generation, batch.epoch, batch.batch, batch.counts.batches)

    @cached_property
    def parts(self) -> list[Quantity]:
        """The components of the loss."""
        return parts(self.started.part_names if self.started else (), len(self.recent[-1].parts) if self.recent else 0)

    @cached_property
    def rates(self) -> list[Quantity]:
        """The learning rate of each group."""
        count = len(self.recent[-1].learning_rates) if self.recent else 0
        return rates(self.started.group_names if self.started else (), count)

    @cached_property
    def usual(self) -> Reference:
        return reference(self.before_first, self._rising)

    @cached_property
    def lead(self) -> Lead | None:
        return lead(self.before_first, self.start.count, self.usual)

    @cached_property
    def onset(self) -> Position:
        """The first abnormal batch."""
        return self.start if self.lead is None else self._position(self.lead.batch)

    @cached_property
    def before(self) -> list[BatchEnded]:
        """Healthy batches before the onset, the last BEFORE_BATCHES of them."""
        healthy = [b for b in self.recent if b.counts.batches < self.onset.count and not b.nonfinite]
        return healthy[-BEFORE_BATCHES:]

    @cached_property
    def after(self) -> list[BatchEnded]:
        """Batches from the onset on, bad ones included."""
        return [b for b in self.recent if b.counts.batches >= self.onset.count]

    @cached_property
    def bad(self) -> list[BatchEnded]:
        """Non-finite batches from the onset on."""
        return [b for b in self.after if b.nonfinite]

    @cached_property
    def good_after(self) -> list[BatchEnded]:
        return [b for b in self.after if not b.nonfinite]

    @property
    def thin(self) -> bool:
        """True where too little is known of what was usual before."""
        return not self.usual.levels

    @cached_property
    def _numbers(self) -> dict[tuple[str, str], list[float]]:
        return {}

    def numbers(self, quantity: Quantity, span: Span) -> list[float]:
        """The finite values of one number in the batches "before" the onset, "after" it, or in the "bad" ones."""
        key = (quantity.name, span)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = finite(quantity.read, getattr(self, span))
        return found

    @cached_property
    def climb(self) -> int:
        """Batches from the onset until most of the rise was done; 0: it was a jump, or it is not known."""
        if self.thin:
            return 0
        heights: list[tuple[int, float]] = []
        for batch in self.after[:TOP_WITHIN_BATCHES]:
            if batch.nonfinite:
                break
            out = self.usual.excursions(batch)
            if out:
                heights.append((batch.counts.batches, max(away for _, away in out)))
        top = MOST * max((height for _, height in heights), default=0.0)
        reached = next((count for count, height in heights if height >= top), self.onset.count)
        return reached - self.onset.count if len(heights) >= CLIMB_BATCHES else 0

    @cached_property
    def sudden(self) -> bool:
        """True where the first bad batch is not finite and everything was as usual right before it."""
        if self.thin or self.lead is not None or not self.bad or self.bad[0].counts.batches != self.start.count:
            return False
        known = self.usual.levels.get(NORM.name)
        norms = finite(NORM.read, self.before[-LAST_BATCHES:])
        return known is not None and bool(norms) and all(known.spreads(norm) < CALM for norm in norms)

    def peak_ratio(self, quantity: Quantity) -> float:
        """The highest finite value since the onset, as a multiple of the level before; 0: not known."""
        known, values = self.usual.levels.get(quantity.name), self.numbers(quantity, "after")
        if known is None or not values or known.value <= 0.0:
            return 0.0
        return max(values) / known.value

    def end_ratio(self, quantity: Quantity) -> float:
        """The last values as a multiple of the level before; 1 where it is not known."""
        known, values = self.usual.levels.get(quantity.name), self.numbers(quantity, "after")[-LAST_BATCHES:]
        if known is None or len(values) < LAST_BATCHES or known.value <= 0.0:
            return 1.0
        return max(values) / known.value

    def has(self, bits: Nonfinite) -> list[BatchEnded]:
        """The bad batches that show any of these bits."""
        mask = int(bits)  # an enum's own operators are slow
        return [b for b in self.bad if b.nonfinite & mask]

    def setting(self, name: str) -> float | None:
        """A hyperparameter as a number; None: not sent, or a word."""
        text = self.setting_text(name)
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    @cached_property
    def framework(self) -> Framework:
        """What the framework of this training is."""
        return framework_named(self.started.framework if self.started else "")

    def setting_text(self, name: str) -> str:
        """A hyperparameter as it was sent; empty: it was not."""
        return self.started.settings.get(name, "") if self.started else ""

    @cached_property
    def seen(self) -> list[NonfiniteSeen]:
        """The evidence of the bad batches since the first one, in the order they came."""
        first = (self.first.epoch, self.first.batch)
        log = self.training.nonfinite_log
        return [s for generation, s in log if generation == self.first.generation and (s.epoch, s.batch) >= first]

    @cached_property
    def blame(self) -> Blame:
        """The samples that explain the bad batches since the first one."""
        return blamed(self.training, self.first)

    def found(self, *detectors: str) -> list[Finding]:
        """What these detectors reported about this time."""
        return [f for f in (*self.findings, *self.training.findings) if f.detector in detectors and self._about(f)]

    def _about(self, finding: Finding) -> bool:
        same = finding.at.generation == self.first.generation
        return same and finding.at.count >= self.onset.count - FINDINGS_BACK

    @property
    def an_epoch(self) -> int:
        """Its batches; 0: not known."""
        return self.started.batches_per_epoch if self.started else 0

    def count_of(self, epoch: int, batch: int) -> int:
        """Counts.batches at a batch of this generation; dropped frames may make it a little off."""
        away = (epoch - self.first.epoch) * self.an_epoch
        return self.first.count + away + batch - self.first.batch

    @cached_property
    def row_before(self) -> EpochRow | None:
        """The last whole epoch before the one of the onset, in any generation."""
        here = (self.first.generation, self.first.epoch)
        rows = [r for r in self.training.epochs if (r.generation, r.epoch) < here and r.status == EpochStatus.ENDED]
        return rows[-1] if rows else None

    def far_level(self, read: Read) -> float | None:
        """The median of a number further back than the batches at hand; None: too few were kept."""
        oldest = self.before[0].counts.batches if self.before else 0
        values = finite(read, [b for b in self.trace.far if b.counts.batches < oldest])
        return level(values).value if len(values) >= LAST_BATCHES else None


def case_of(training: TrainingState, incident: Incident) -> Case:
    """The case of an incident: of the rank that was found first, from its onset on."""
    first = incident.findings[0] if incident.findings else None
    return Case(training, incident.family, incident.onset, first.rank if first else 0, tuple(incident.findings))


def case_of_finding(training: TrainingState, finding: Finding) -> Case:
    """The case of a finding that opened no incident."""
    return Case(training, finding.family, finding.since, finding.rank, (finding,))
