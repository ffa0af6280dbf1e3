"""Runs the bench: healthy trainings, look-alikes and faults, told to every contender. Pure: cases come from others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice

from monitor.core.policy.settings import Policy
from tests.bench.detection.contenders import Contender, Level, Published, Warden
from tests.bench.detection.families import FAULTS
from tests.bench.detection.fault import Fault, cases_of
from tests.bench.detection.healthy import HEALTHY, healthy_cases, look_alikes
from tests.bench.detection.play import Outcome, Stage
from tests.bench.detection.rules import RuleFactory
from tests.bench.detection.streams import DURATION, LEVELS, Case

Progress = Callable[[str, int], None]  # what is being played, and how many batches were
REPEATS = 2
HEALTHY_BATCHES = 360_000  # with the look-alikes ten for each faulty one, with REPEATS
ERRORS_MAX = 50  # told; of one kind one
QUICK_HEALTHY_BATCHES = 10_000
QUICK_STRIDE = 4
QUICK_TAIL = 600  # batches
PEER_LEVELS = (Level.TOLD,)


@dataclass(frozen=True)
class Scope:
    """What is run."""

    seed: str
    healthy_batches: int
    repeats: int
    families: frozenset[str] = frozenset()  # empty: all, and the healthy and benign ones
    quick: bool = False  # of faults only the worst, of look-alikes every fourth


def levels_of(contender: str) -> Sequence[Level]:
    """At which levels a contender may speak."""
    return tuple(Level) if contender.startswith("trainwarden ") else PEER_LEVELS


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
    """Bad, and told in few records: what a quick bench has time for."""
    return fault.level == LEVELS[-1] and fault.ranks == 1 and fault.tail <= QUICK_TAIL


class Bench:
    """The contenders, and what each of them said to every case."""

    def __init__(self, policies: dict[str, Policy], rules: Sequence[RuleFactory], progress: Progress) -> None:
        self._policies, self._rules, self._progress = policies, rules, progress
        self.outcomes: list[Outcome] = []
        self.errors: list[str] = []  # cases that could not be had, and contenders that broke

    def run(self, told: Iterable[Case]) -> None:
        """Play every case. Those that share an opening must follow each other."""
        for opening, members in groupby(told, key=lambda case: case.opening):
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
        """New ones, who have heard nothing yet."""
        wardens = (Warden(name, policy) for name, policy in self._policies.items())
        return list(chain(wardens, (Published(make) for make in self._rules)))

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
