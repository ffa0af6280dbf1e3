"""Runs the bench: plays healthy trainings, look-alikes and faults to every contender. Pure: cases are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice

from monitor.core.policy.settings import Policy
from tests.bench.detection.contenders import Contender, PublishedRule, Trainwarden
from tests.bench.detection.families import FAULTS
from tests.bench.detection.fault import Fault, cases_of
from tests.bench.detection.healthy import HEALTHY, healthy_cases, look_alikes
from tests.bench.detection.play import Outcome, Stage
from tests.bench.detection.rules import RuleFactory
from tests.bench.detection.streams import DURATION, SEVERITIES, Case

Progress = Callable[[str, int], None]  # what is being played, and how many batches were
REPEATS = 2
HEALTHY_BATCHES = 360_000  # with the look-alikes ten for each faulty one, with REPEATS
ERRORS_MAX = 50  # listed; one of each kind
QUICK_HEALTHY_BATCHES = 10_000
QUICK_STRIDE = 4
QUICK_TAIL = 600  # batches


@dataclass(frozen=True)
class Scope:
    """What is run."""

    seed: str
    healthy_batches: int
    repeats: int
    families: frozenset[str] = frozenset()  # empty: all, and the healthy and benign ones
    quick: bool = False  # of faults only the worst, of look-alikes every fourth


def faulty_batches(outcomes: Iterable[Outcome]) -> int:
    """Batches of faulty cases at which something was wrong, one contender's."""
    seen = {id(o.case): o for o in outcomes if o.case.faulty}
    return sum(
        min(DURATION.get(o.case.lasts, 1), o.batches - (o.case.onset or 0)) for o in seen.values() if not o.case.error
    )


def cases(scope: Scope) -> Iterator[Case]:
    """Every synthetic case of the scope: healthy ones first, then look-alikes, then faults by their openings."""
    wanted = scope.families
    if not wanted or HEALTHY in wanted:
        yield from healthy_cases(scope.healthy_batches, scope.seed)
    if not wanted or "benign" in wanted:
        yield from islice(look_alikes(scope.seed), 0, None, QUICK_STRIDE if scope.quick else 1)
    faults = [f for f in FAULTS if (not wanted or f.family in wanted) and (_soon_over(f) or not scope.quick)]
    yield from cases_of(faults, scope.repeats, scope.seed)


def _soon_over(fault: Fault) -> bool:
    """Severe, and played in few records: what a quick bench has time for."""
    return fault.severity == SEVERITIES[-1] and fault.ranks == 1 and fault.tail <= QUICK_TAIL


class Bench:
    """The contenders, and the alarms of each in every case."""

    def __init__(self, policies: dict[str, Policy], rules: Sequence[RuleFactory], progress: Progress) -> None:
        self._policies, self._rules, self._progress = policies, rules, progress
        self.outcomes: list[Outcome] = []
        self.errors: list[str] = []  # cases that failed to run, and contenders that raised

    def run(self, cases: Iterable[Case]) -> None:
        """Play every case. Those that share an opening must follow each other."""
        for opening, members in groupby(cases, key=lambda case: case.opening):
            if opening is None:
                for case in members:
                    self._finish(case, Stage(self.contenders()))
                continue
            stage = Stage(self.contenders())
            stage.play(opening.steps())
            begun = Case(HEALTHY, opening.kind, "", "", faulty=False, benign=False, onset=None, steps=())
            self._keep(stage.outcomes(begun))
            for case in members:
                self._finish(case, stage.fork())

    def contenders(self) -> list[Contender]:
        """New ones, which know nothing yet."""
        ours = (Trainwarden(name, policy) for name, policy in self._policies.items())
        return list(chain(ours, map(PublishedRule, self._rules)))

    def _finish(self, case: Case, stage: Stage) -> None:
        if case.error:
            self.errors.append(f"{case.family}, {case.fault} ({case.kind}): {case.error}")
            return
        before = stage.batches
        stage.play(case.steps)
        self._keep(stage.outcomes(case))
        self._progress(case.family, stage.batches - before)

    def _keep(self, outcomes: list[Outcome]) -> None:
        self.outcomes.extend(outcomes)
        room = max(ERRORS_MAX - len(self.errors), 0)
        new = dict.fromkeys(defect for outcome in outcomes for defect in outcome.defects)
        self.errors.extend([defect for defect in new if defect not in self.errors][:room])
