"""Runs the tests of what runs beside a training on other stacks.

    python -m tests.stacks [--quick | --only FILE] [STACK...]

Each stack (a Python, a torch, an Ultralytics) gets a virtual environment of its own in the checkout, .venv-STACK, which
is kept. A stack whose Python is not on this machine is named as NOT TESTED. Exits with 1 where tests fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYENV = Path.home() / ".pyenv" / "versions"
QUICK = ("tests/unit/trainer_hooks", "tests/e2e/test_a_users_script.py", "tests/e2e/test_a_users_disasters.py")
TESTS = (
    *QUICK,
    "tests/contracts/test_integrations.py",
    "tests/unit/monitor/vault",
    "tests/training",
    "tests/e2e/test_yolo.py",
    "tests/e2e/test_trainings.py",
)
BENCH = ("tests/training/test_live_bench.py", "tests/training/test_live_faults.py")  # needs torch 2.1, and is a tool
OLD_ULTRALYTICS = "ultralytics==8.3.225"


@dataclass(frozen=True)
class Stack:
    """`packages` are installed beside trainwarden; empty: the newest that its extra `ultralytics` takes."""

    name: str
    python: str
    packages: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return ROOT / f".venv-{self.name}"

    @property
    def needs(self) -> list[str]:
        """What pip is asked for."""
        return ["--editable", ".[ultralytics,test]", *self.packages]

    @property
    def tests(self) -> list[str]:
        return [*TESTS, *(f"--ignore={file}" for file in BENCH if self.packages)]


STACKS = (
    Stack("user", "3.10", ("torch==1.13.1", "torchvision==0.14.1", OLD_ULTRALYTICS, "numpy<2")),
    Stack("torch20", "3.10", ("torch==2.0.1", "torchvision==0.15.2", OLD_ULTRALYTICS, "numpy<2")),
    Stack("py310", "3.10"),
    Stack("py313", "3.13"),
)


def interpreter(version: str) -> str | None:
    """Of pyenv, or else of the machine."""
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}")


def install(stack: Stack, python: str) -> None:
    """Make its environment, unless it is there with the same packages and pyproject.toml has not changed since."""
    installed, needs = stack.folder / "installed", " ".join(stack.needs)
    project = (ROOT / "pyproject.toml").stat().st_mtime
    if installed.exists() and installed.read_text() == needs and installed.stat().st_mtime > project:
        return
    subprocess.run([python, "-m", "venv", "--clear", str(stack.folder)], check=True)
    pip = [str(stack.folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *stack.needs], cwd=ROOT, check=True)
    installed.write_text(needs)


def passes(stack: Stack, tests: list[str]) -> bool:
    """True: they pass there."""
    command = [str(stack.folder / "bin" / "python"), "-m", "pytest", "-q", "--show-capture=no"]
    workers = ["--numprocesses=2", "--dist=loadfile"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TEST_USERS_NIGHT": "1"}
    return subprocess.run([*command, *workers, *tests], cwd=ROOT, env=environment, check=False).returncode == 0


def result(stack: Stack, tests: list[str]) -> str:
    """One line: what became of it."""
    python = interpreter(stack.python)
    if python is None:
        return f"NOT TESTED: there is no Python {stack.python} on this machine"
    began_s = time.monotonic()
    install(stack, python)
    passed = passes(stack, tests or stack.tests)
    return f"{'passed' if passed else 'FAILED'} after {time.monotonic() - began_s:.0f} s"


def main() -> int:
    """The script itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.stacks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stacks", nargs="*", metavar="STACK", help=f"of {', '.join(each.name for each in STACKS)}")
    fewer = parser.add_mutually_exclusive_group()
    fewer.add_argument("--quick", action="store_true", help="only the hooks' unit tests and the user's script")
    fewer.add_argument("--only", metavar="FILE", action="append", default=[], help="only these tests")
    given = parser.parse_args()
    if unknown := set(given.stacks) - {each.name for each in STACKS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [each for each in STACKS if not given.stacks or each.name in given.stacks]
    results = {each: result(each, list(QUICK) if given.quick else given.only) for each in chosen}
    for each, said in results.items():
        what = " ".join(each.packages) or "the newest torch and Ultralytics"
        print(f"{each.name} (Python {each.python}, {what}): {said}")
    return int(any(said.startswith("FAILED") for said in results.values()))


if __name__ == "__main__":
    sys.exit(main())
