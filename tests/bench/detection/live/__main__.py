"""`python -m tests.bench.detection.live [--quick] [--seed N] [--gpu] [--keep FOLDER]`: the live trainings alone.

Prints a line for each training as it is judged: what the default policy said, at which batch, and how late that is.
`--keep` leaves the recorded streams, for `trainwarden backtest FOLDER` or for somebody else's detector.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monitor.core.policy.settings import Policy
from tests.bench.detection.contenders import Trainwarden
from tests.bench.detection.live import cases
from tests.bench.detection.play import Outcome, Stage, TimedAlarm

WORDS_MAX = 90


def main(arguments: list[str] | None = None) -> int:
    """Run them; 1 where a training failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.detection.live", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few, in less than a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="also those that need a CUDA device")
    parser.add_argument("--keep", type=Path, help="an empty folder for the recorded streams")
    given = parser.parse_args(arguments)
    if given.keep is not None and given.keep.exists() and any(given.keep.iterdir()):
        parser.error(f"--keep {given.keep}: is not empty, and streams would mix; name another folder")
    failed = 0
    for case in cases(given.seed, given.quick, gpu=given.gpu, keep=given.keep):
        stage = Stage([Trainwarden("default", Policy())])
        stage.play(case.steps)
        (outcome,) = stage.outcomes(case)
        failed += bool(case.error)
        print(line_of(outcome), flush=True)
    return 1 if failed else 0


def line_of(outcome: Outcome) -> str:
    """One training and its alarms."""
    case = outcome.case
    about = f"{case.kind:<22} {case.fault if case.faulty else 'healthy':<28} {case.severity:<7} {case.lasts:<11}"
    if case.error:
        return f"{about} FAILED: {case.error}"
    too_soon = [h for h in outcome.alarms if case.onset is None or h.batch < case.onset]
    rest = outcome.alarms[len(too_soon) :]
    earlier = f"; {len(too_soon)} before: {_shown(too_soon[0])}" if too_soon and case.faulty else ""
    if not case.faulty:
        return f"{about} {outcome.batches} batches: " + ("; ".join(map(_shown, too_soon)) or "silent")
    if not rest:
        return f"{about} not found{earlier}"
    delay = f"after {rest[0].waited_s:.0f} s" if case.family == "hang" else f"+{rest[0].batch - (case.onset or 0)}"
    return f"{about} {delay} {_shown(rest[0])}{earlier}"


def _shown(timed: TimedAlarm) -> str:
    alarm = timed.alarm
    return f"[batch {timed.batch}, {alarm.level.label}, {alarm.source}] {alarm.text[:WORDS_MAX]}"


if __name__ == "__main__":
    raise SystemExit(main())
