"""Coordinate search over the parameters, and what it is worth on runs that the search did not see. Pure.

Every fold of the groups is held out once: the search is done again without it, from the start, and what it chooses is
assessed on the fold. So each run is assessed with a point that was chosen without it and without the runs of its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from monitor.recorded.backtest.labelled_runs import Label
from monitor.recorded.tuning.counts import Aim, Counted, RunAlarms, counted
from monitor.recorded.tuning.search_space import Parameter, Point

PASSES_MAX = 3  # over all parameters
BOUNDS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)  # shares of healthy runs with a warning, of the trade-off curve

Evaluate = Callable[[Point], Mapping[str, RunAlarms]]


class OnCurve(msgspec.Struct, frozen=True):
    """The best point within one bound of healthy runs with a warning."""

    bound: float
    point: Point  # chosen on all runs
    all_runs: Counted
    held_out: Counted  # each run assessed with the point that was chosen without its fold


class Tuned(msgspec.Struct, frozen=True):
    """What a search found."""

    parameters: list[Parameter]
    base: Point
    base_counted: Counted
    chosen: Point
    all_runs: Counted
    held_out: Counted
    curve: list[OnCurve]
    tried: list[tuple[Point, Counted]]
    folds: int
    groups: int
    seed: int
    spent: bool  # True: the search ended because it may try no more points
    unsettled: bool = False  # True: it still got better in the last of its passes


class Evaluator:
    """Remembers what each point came to, and evaluates at most `points_max` of them."""

    def __init__(self, evaluate: Evaluate, points_max: int) -> None:
        self._evaluate, self._points_max = evaluate, points_max
        self.known: dict[Point, Mapping[str, RunAlarms]] = {}
        self.spent = False
        self.unsettled = False

    def seen(self, point: Point) -> Mapping[str, RunAlarms] | None:
        """What every run came to at the point; None: it may not be tried any more."""
        if point not in self.known:
            if len(self.known) >= self._points_max:
                self.spent = True
                return None
            self.known[point] = self._evaluate(point)
        return self.known[point]


def folds_of(labels: Mapping[str, Label], folds: int, seed: int) -> list[set[str]]:
    """Runs dealt into at most `folds` parts of about equal size; a group is never split."""
    groups: dict[str, list[str]] = {}
    for run, label in labels.items():
        groups.setdefault(label.group or run, []).append(run)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    parts: list[set[str]] = [set() for _ in range(min(folds, len(groups)))]
    for name in sorted(order, key=lambda name: -len(groups[name])):  # stable: equal ones stay shuffled
        min(parts, key=len).update(groups[name])
    return parts


def tune(
    parameters: Sequence[Parameter],
    labels: Mapping[str, Label],
    evaluate: Evaluate,
    aim: Aim,
    *,
    folds: int,
    seed: int,
    points_max: int,
) -> Tuned:
    """Search on all runs, and again without each fold."""
    evaluator = Evaluator(evaluate, points_max)
    base: Point = tuple(parameter.values[0] for parameter in parameters)
    whole = set(labels)
    visited = _climb(parameters, evaluator, labels, whole, aim)
    chosen = _best(visited, evaluator, labels, whole, aim)
    parts = folds_of(labels, folds, seed)
    paths = [(part, _climb(parameters, evaluator, labels, whole - part, aim)) for part in parts]
    return Tuned(
        parameters=list(parameters),
        base=base,
        base_counted=counted(labels, evaluator.known[base], whole),
        chosen=chosen,
        all_runs=counted(labels, evaluator.known[chosen], whole),
        held_out=_held_out(paths, evaluator, labels, aim),
        curve=_curve(visited, paths, evaluator, labels, aim),
        tried=[(point, counted(labels, seen, whole)) for point, seen in evaluator.known.items()],
        folds=len(parts),
        groups=len({label.group or run for run, label in labels.items()}),
        seed=seed,
        spent=evaluator.spent,
        unsettled=evaluator.unsettled,
    )


def _climb(
    parameters: Sequence[Parameter], evaluator: Evaluator, labels: Mapping[str, Label], runs: set[str], aim: Aim
) -> list[Point]:
    """Turn one parameter after the other to its best value until none gets better; every point that was visited."""
    best: Point = tuple(parameter.values[0] for parameter in parameters)
    visited: dict[Point, tuple[float, ...]] = {}

    def worth(point: Point) -> tuple[float, ...] | None:
        seen = evaluator.seen(point)
        if seen is not None and point not in visited:
            visited[point] = counted(labels, seen, runs).worth(aim)
        return visited.get(point)

    worth(best)
    for _ in range(PASSES_MAX):
        before = best
        for at, parameter in enumerate(parameters):
            for value in parameter.values:
                point = (*best[:at], value, *best[at + 1 :])
                found = worth(point)
                if found is not None and found > visited[best]:
                    best = point
        if best == before:
            break
    else:
        evaluator.unsettled = True
    return list(visited)


def _best(
    points: Sequence[Point], evaluator: Evaluator, labels: Mapping[str, Label], runs: set[str], aim: Aim
) -> Point:
    """The best of the points on some of the runs; of equal ones the first, which is nearest to where it began."""
    return max(points, key=lambda point: counted(labels, evaluator.known[point], runs).worth(aim))


def _held_out(
    paths: Sequence[tuple[set[str], list[Point]]], evaluator: Evaluator, labels: Mapping[str, Label], aim: Aim
) -> Counted:
    seen: dict[str, RunAlarms] = {}
    for part, visited in paths:
        point = _best(visited, evaluator, labels, set(labels) - part, aim)
        seen |= {run: one for run, one in evaluator.known[point].items() if run in part}
    return counted(labels, seen, labels)


def _curve(
    visited: Sequence[Point],
    paths: Sequence[tuple[set[str], list[Point]]],
    evaluator: Evaluator,
    labels: Mapping[str, Label],
    aim: Aim,
) -> list[OnCurve]:
    """The best point within each bound, among those that the search visited."""
    curve = []
    for bound in BOUNDS:
        within = Aim(bound, aim.healthy_critical)
        point = _best(visited, evaluator, labels, set(labels), within)
        all_runs = counted(labels, evaluator.known[point], labels)
        curve.append(OnCurve(bound, point, all_runs, _held_out(paths, evaluator, labels, within)))
    return curve
