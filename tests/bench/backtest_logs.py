"""False alarms of the detectors on labelled logs, and what they find: python -m tests.bench.backtest_logs FOLDER.

FOLDER holds the logs and an `index.csv` with the columns file, kind, repo, label, subtype, nan_onset_row. The numbers
belong to that set of logs and are to be given with its name.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from monitor.core.model import Severity
from monitor.core.policy.settings import Policy
from monitor.policyfile.load import load_policy, policy_from_text, preset
from monitor.recorded.backtest import Result, backtest
from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import UnreadableLog

ALARMING = (Severity.WARNING, Severity.CRITICAL)


@dataclass(frozen=True)
class Judged:
    """One labelled log and what the backtest said of it; `result` None: unreadable, and `why`."""

    index: dict[str, str]
    result: Result | None
    why: str = ""

    @property
    def warned(self) -> bool:
        return self.result is not None and self.result.worst in ALARMING

    @property
    def first_alarm_row(self) -> int | None:
        """The row of the first alarm; None: there was none."""
        rows = [f.row for f in self.result.fired if f.severity in ALARMING] if self.result else []
        return min(rows, default=None)

    @property
    def critical(self) -> bool:
        return self.result is not None and self.result.worst is Severity.CRITICAL

    def delay_rows(self, *, critical: bool) -> int | None:
        """Rows from the counted onset of NaN to the first alarm at or after it; None: no onset or no alarm."""
        onset = self.index["nan_onset_row"]
        if self.result is None or not onset:
            return None
        levels = (Severity.CRITICAL,) if critical else ALARMING
        rows = [f.row for f in self.result.fired if f.severity in levels and f.row >= int(onset)]
        return min(rows) - int(onset) if rows else None


def judge(folder: Path, policy: Policy, wanted: Callable[[dict[str, str]], bool] = bool) -> list[Judged]:
    """Every log of the index that is wanted, backtested."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as opened:
        index = [row for row in csv.DictReader(opened) if wanted(row)]
    return [_judge(folder, row, policy) for row in index]


def _judge(folder: Path, row: dict[str, str], policy: Policy) -> Judged:
    try:
        return Judged(row, backtest(read_log((folder / row["file"]).read_bytes(), row["file"]), policy))
    except UnreadableLog as error:
        return Judged(row, None, str(error))


def table(judged: Iterable[Judged], key: Callable[[Judged], str]) -> list[str]:
    """Markdown: a line for each group, healthy and bad runs apart."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        groups[key(one)].append(one)
    lines = ["| group | logs | read | rows | any alarm | critical |", "|---|---|---|---|---|---|"]
    for name, group in sorted(groups.items()):
        read = [one for one in group if one.result]
        rows = sum(one.result.rows for one in read if one.result)
        warned, critical = sum(one.warned for one in read), sum(one.critical for one in read)
        lines.append(
            f"| {name} | {len(group)} | {len(read)} | {rows} | {_share(warned, read)} | {_share(critical, read)} |"
        )
    return lines


def _share(count: int, of: list[Judged]) -> str:
    return f"{count} ({count / len(of):.1%})" if of else "-"


def delays(judged: Iterable[Judged], *, critical: bool) -> str:
    """Delay from the counted onset, over the logs that have one."""
    with_onset = [one for one in judged if one.result and one.index["nan_onset_row"]]
    found = [d for one in with_onset if (d := one.delay_rows(critical=critical)) is not None]
    if not found:
        return f"0 of {len(with_onset)} found"
    p95 = sorted(found)[min(int(0.95 * len(found)), len(found) - 1)]
    return f"{len(found)} of {len(with_onset)} found, delay median {statistics.median(found):g}, p95 {p95} rows"


def sources(judged: Iterable[Judged], label: str) -> list[str]:
    """Which detectors alarmed on the runs of a label, by the number of runs."""
    counted: Counter[str] = Counter()
    for one in judged:
        if one.result and one.index["label"] == label:
            counted.update({f"{f.source}/{f.severity}" for f in one.result.fired if f.severity in ALARMING})
    return [f"| {name} | {count} |" for name, count in counted.most_common()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--policy", default="default", help="a preset or a file")
    parser.add_argument(
        "--list", action="store_true", help="name every healthy log that alarms and every nan log that does not"
    )
    given = parser.parse_args()
    name = given.policy
    policy = load_policy(Path(name)) if Path(name).exists() else policy_from_text(preset(name), name)
    started_s = time.process_time()
    judged = judge(given.folder, policy)
    seconds = time.process_time() - started_s
    rows = sum(one.result.rows for one in judged if one.result)
    print(f"policy {name}: {len(judged)} logs, {rows} rows, {seconds:.1f} s of CPU\n")
    for title, key in (
        ("by label", lambda one: one.index["label"]),
        ("healthy and bad, by kind", lambda one: f"{one.index['kind']}: {one.index['label']}"),
        ("by repository", lambda one: f"{one.index['repo']}: {one.index['label']}"),
    ):
        print(f"## {title}\n", *table(judged, key), "", sep="\n")
    print("## onset of NaN\n")
    print(f"any alarm: {delays(judged, critical=False)}\n\ncritical: {delays(judged, critical=True)}\n")
    for label in ("healthy", "nan"):
        print(
            f"## who alarmed on {label} logs\n\n| detector | logs |\n|---|---|", *sources(judged, label), "", sep="\n"
        )
    print("## unreadable\n", *[one.why for one in judged if not one.result], sep="\n")
    if given.list:
        _list(judged)


def _list(judged: list[Judged]) -> None:
    for one in judged:
        if one.result and (one.warned if one.index["label"] == "healthy" else not one.warned):
            print(one.index["label"], one.index["subtype"], one.index["file"])
            print(*[f"   {f.severity} row {f.row} {f.source}: {f.summary}" for f in one.result.fired[:6]], sep="\n")


if __name__ == "__main__":
    main()
