"""Before the start: can this command run, and does its Python have the hooks? Runs that Python once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from monitor.supervisor.start_errors import StartError

PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")
ASK_S = 60.0  # a cold interpreter on a network file system takes ten
FLAGS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
QUESTION = "import sys, trainer_hooks.wire.messages; print(sys.flags.ignore_environment, sys.flags.no_site)"
SHEBANG_BYTES = 1024
NOT_ATTACHED = (
    "The command starts Python with -E, -I or -S, so the hooks can't attach by themselves. "
    "Call watch(model) in your script."
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of the command."""

    interpreter: str  # the Python that will run the training; empty: not known
    warnings: tuple[str, ...] = ()


def check(argv: tuple[str, ...], folder: Path, environment: dict[str, str]) -> Preflight:
    """Check `argv` as started in `folder`. Raises StartError where it can't work: then start nothing."""
    command = find(argv, folder, environment)
    python = _python_of(command, argv, environment)
    if python is None:
        return Preflight("", (_unknown(argv[0]),))
    return Preflight(python[0], _ask(python, folder, environment))


def find(argv: tuple[str, ...], folder: Path, environment: dict[str, str]) -> Path:
    """The file that `argv` names. Raises StartError if there is none."""
    if not argv:
        raise StartError("no training command: put it after --, as in `trainwarden run -- python train.py`")
    name = argv[0]
    path = str(folder / name) if os.sep in name else name
    if found := shutil.which(path, path=environment.get("PATH")):
        return Path(found)
    raise StartError(
        f"{name!r}: there is no such command in PATH or in {folder}; nothing was started. Check the words after --."
    )


def _python_of(command: Path, argv: tuple[str, ...], environment: dict[str, str]) -> list[str] | None:
    """The interpreter with its own flags, ready for `-c`; None where we can't tell which Python the command runs."""
    if PYTHON.fullmatch(command.name):
        return [str(command), *_flags(argv[1:])]
    return _shebang(command, environment)


def _flags(words: tuple[str, ...]) -> list[str]:
    """The interpreter's own flags: what stands before the script, `-m` or `-c`."""
    flags: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "-m", "-c", "--"):
        word = rest.pop(0)
        flags.append(word)
        if word in FLAGS_WITH_VALUE and rest:
            flags.append(rest.pop(0))
    return flags


def _shebang(script: Path, environment: dict[str, str]) -> list[str] | None:
    """The Python named in the first lines of a script that pip installed for a command."""
    with script.open("rb") as file:
        lines = os.fsdecode(file.read(SHEBANG_BYTES)).splitlines()
    if not lines or not lines[0].startswith("#!"):
        return None
    words = lines[0][2:].split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if word != "-S" and "=" not in word]
    elif words[:1] == ["/bin/sh"] and len(lines) > 1 and lines[1].startswith("'''exec'"):
        words = lines[1].split()[1:2]  # what pip writes where the interpreter's path is too long for a first line
    interpreter = shutil.which(words[0].strip('"'), path=environment.get("PATH")) if words else None
    if interpreter is None or not PYTHON.fullmatch(Path(interpreter).name):
        return None
    return [interpreter, *_flags(tuple(words[1:]))]


def _ask(python: list[str], folder: Path, environment: dict[str, str]) -> tuple[str, ...]:
    """Import the hooks in it. Raises StartError if they are not there; returns warnings."""
    try:
        answer = subprocess.run(
            [*python, "-c", QUESTION],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        unknown = f"{python[0]} did not answer within {ASK_S:.0f} s, so it is not known whether it has trainwarden."
        return (f"{unknown} If no batch is reported soon, install it there.",)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise StartError(
            f"{python[0]} can't import trainer_hooks ({last}), so the training would not be monitored. Nothing was "
            f"started. Install it there with `{python[0]} -m pip install trainwarden`."
        )
    if "1" in (answer.stdout.splitlines() or [""])[-1]:  # the last line is ours; a sitecustomize may print more
        return (NOT_ATTACHED,)
    return ()


def _unknown(name: str) -> str:
    return (
        f"{name!r}: cannot tell which Python it starts. If no batch is reported soon, check that trainwarden is "
        "installed for that Python."
    )
