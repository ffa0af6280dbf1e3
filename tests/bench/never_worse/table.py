"""The results as tables, and where trainwarden was worse. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.never_worse.faults import ROWS
from tests.bench.never_worse.protections import OURS, Protection, Result

NOT_TRAINED = "not trained"
HEADER = f"| fault | {' | '.join(Protection)} |\n|{'---|' * (len(Protection) + 1)}"


def text_of(results: Sequence[Result]) -> str:
    """The final mAP50 of each seed; then batches trained, seconds and exit codes."""
    maps, costs = [HEADER], [HEADER]
    for row, title in ROWS.items():
        cells = [_of(results, row, protection) for protection in Protection]
        if any(cells):
            maps.append(f"| {title} | {' | '.join(_maps(cell) for cell in cells)} |")
            costs.append(f"| {title} | {' | '.join(_cost(cell) for cell in cells)} |")
    first = "Final mAP50 (last.pt), one figure a seed; in brackets that of best.pt, where it is higher:"
    second = "Batches trained; seconds; exit codes (a code that all seeds share stands once):"
    return "\n".join([first, "", *maps, "", second, "", *costs, ""])


def _of(results: Sequence[Result], row: str, protection: Protection) -> list[Result]:
    return sorted((r for r in results if (r.row, r.protection) == (row, protection)), key=lambda r: r.seed)


def _maps(cell: Sequence[Result]) -> str:
    return ", ".join(_map(result) for result in cell) or NOT_TRAINED


def _map(result: Result) -> str:
    if result.last_map is None or result.best_map is None:
        return "none"
    best = f" ({result.best_map:.3f})" if result.best_map > result.last_map else ""
    return f"{result.last_map:.3f}{best}"


def _cost(cell: Sequence[Result]) -> str:
    if not cell:
        return NOT_TRAINED
    codes = [str(code) for code in dict.fromkeys(result.code for result in cell)]
    batches = ", ".join(str(result.batches) for result in cell)
    seconds = ", ".join(f"{result.seconds:.0f}" for result in cell)
    return f"{batches}; {seconds} s; {', '.join(codes)}"


def faults_of(results: Sequence[Result]) -> list[str]:
    """A sentence for each thing that should not be so."""
    silent = [r for r in results if r.row != "healthy" and not r.fired]
    found = [f"{r.row}, seed {r.seed}, {r.protection}: the fault never happened" for r in silent]
    return found + _healthy_differs(results) + [text for row in ROWS for text in _worse(results, row)]


def _healthy_differs(results: Sequence[Result]) -> list[str]:
    found = []
    for plain in _of(results, "healthy", Protection.FRAMEWORK):
        for result in results:
            same = (result.table, result.weights) == (plain.table, plain.weights)
            if (result.row, result.seed) == (plain.row, plain.seed) and not same:
                found.append(f"healthy, seed {plain.seed}, {result.protection}: not what Ultralytics alone gives")
    return found


def _worse(results: Sequence[Result], row: str) -> list[str]:
    """The mean over the seeds below the best other column's by more than the seeds of a healthy training differ."""
    healthy = [_final(r) for r in _of(results, "healthy", Protection.FRAMEWORK)]
    spread = max(healthy, default=0.0) - min(healthy, default=0.0)
    others = [_mean(_of(results, row, other)) for other in Protection if other not in OURS]
    return [
        f"{row}: {ours} ends at {_mean(cell):.3f}, the best other column at {max(others):.3f} (spread {spread:.3f})"
        for ours in OURS
        if (cell := _of(results, row, ours)) and _mean(cell) < max(others) - spread
    ]


def _final(result: Result) -> float:
    return result.last_map or 0.0


def _mean(cell: Sequence[Result]) -> float:
    return sum(map(_final, cell)) / len(cell) if cell else 0.0
