"""Runs the mutants: `python -m tests.mutants [--count N] [--seed N] [FOLDER ...]`. Edge file: starts pytest.

Every mutant is one change in a copy of the sources; it is killed where a test fails, or takes too long. Exit code 1:
a named mutant lived or could not be made, or the tests fail without any change, so that nothing is proven.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.changes import changes
from tests.mutants.named import NAMED, in_place
from tests.mutants.quick_tests import quick_tests

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("monitor", "trainer_hooks", "alerts", "tests", "docs", "deploy", "pyproject.toml", "_trainwarden.py")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "training", "e2e", "history_v1")
ROOMS = ("monitor/core", "monitor/vault")
VALUES_ONLY = ("monitor/core/model/", "monitor/core/policy/settings.py")  # declarations: nothing runs in them
LIMIT_S = 240.0  # of the tests of one mutant: a loop without an end counts as noticed
BASELINE_LIMIT_S = 900.0
TIMED_OUT = f"no end within {LIMIT_S:.0f} s"
PASSED, FAILED = 0, 1  # exit codes of pytest


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="random mutants to try; 0: only the named ones")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help="files or folders to change")
    options = parser.parse_args()
    if troubles := in_place(ROOT):
        print(*troubles, sep="\n", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "copy"
        _copy_to(copy)
        lived, used = _named(copy)
        used |= _sampled(copy, options.rooms, options.count, options.seed)
        sound = _pytest(copy, sorted(used), BASELINE_LIMIT_S) == PASSED
    if not sound:
        print("the same tests fail, or take too long, without any change: nothing above is proven", file=sys.stderr)
    return 1 if lived or not sound else 0


def _copy_to(copy: Path) -> None:
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, copy / name)


def _named(copy: Path) -> tuple[list[str], set[str]]:
    """The named mutants that lived, and the tests that were run."""
    lived = []
    for named in NAMED:
        killed, how = _try(copy, named.file, named.applied((copy / named.file).read_text()), list(named.tests))
        print(f"{'killed' if killed else 'LIVES '}  {named.name} ({how})", flush=True)
        if not killed:
            lived.append(named.name)
    print(f"named mutants: {len(NAMED) - len(lived)} of {len(NAMED)} killed\n", flush=True)
    return lived, {test for named in NAMED for test in named.tests}


def _sampled(copy: Path, rooms: list[str], count: int, seed: int) -> set[str]:
    """Try random changes and print the score; the tests that noticed one."""
    files = [str(path.relative_to(copy)) for room in rooms for path in _python_files(copy / room)]
    sites = [(file, change) for file in files for change in changes((copy / file).read_text())]
    sample = random.Random(seed).sample(sites, min(count, len(sites)))
    killed_of: dict[str, list[bool]] = {}
    survivors, timed_out, used = [], 0, set[str]()
    for number, (file, change) in enumerate(sample, 1):
        text = (copy / file).read_text()
        tests = quick_tests(copy, file)
        killed, how = _try(copy, file, change.applied(text), tests)
        killed_of.setdefault("/".join(file.split("/")[:2]), []).append(killed)
        print(f"{number}/{len(sample)}  {'killed' if killed else 'LIVES '}  {file}:{change} ({how})", flush=True)
        timed_out += how == TIMED_OUT
        if killed:
            used.update(tests)
        else:
            survivors.append(f"{file}:{change}")
    for room, results in sorted(killed_of.items()):
        print(f"{room}: {sum(results)} of {len(results)} killed")
    total = sum(sum(results) for results in killed_of.values())
    if sample:
        share = total / len(sample)
        late = f", {timed_out} of them by the time limit" if timed_out else ""
        print(f"seed {seed}: {total} of {len(sample)} killed ({share:.0%}){late}, of {len(sites)} possible changes")
    print(*(f"  survived: {survivor}" for survivor in survivors), sep="\n")
    return used


def _python_files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [file for file in found if not any(part in str(file) for part in VALUES_ONLY)]


def _try(copy: Path, file: str, mutant: str, tests: list[str]) -> tuple[bool, str]:
    """Whether the tests noticed, and how. The copy is as before afterwards."""
    target = copy / file
    before = target.read_text()
    target.write_text(mutant)
    began_s = time.monotonic()
    try:
        compile(mutant, file, "exec")
        code = _pytest(copy, tests, LIMIT_S)
    finally:
        target.write_text(before)
    took = f"{time.monotonic() - began_s:.0f} s"
    if code is None:
        return True, TIMED_OUT
    if code not in (PASSED, FAILED):
        return True, f"the tests could not even be collected, {took}"
    return code == FAILED, took


def _pytest(copy: Path, tests: list[str], limit_s: float) -> int | None:
    """The exit code; None where the time was over."""
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=copy, env=environment, capture_output=True, check=False, timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
