"""How trainwarden starts: its console script, and every child process of its own.

Both put the installation's folder ahead of PYTHONPATH and of the working folder, so that a user's own `monitor.py` is
not run instead. The standard library stays ahead of it: a `typing.py` among the installed packages replaces nothing.
"""

from __future__ import annotations

import os
import sys

_FOLDER = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib may not be imported before the path is ours
_SCRIPT = _FOLDER + os.sep + "_trainwarden.py"


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours without the environment's PYTHON variables."""
    return [sys.executable, "-E", _SCRIPT, "-m", module, *arguments]


def console_command(*arguments: str) -> list[str]:
    """The command line of `trainwarden` itself, as this interpreter has it, whether or not its folder is on PATH."""
    return [sys.executable, _SCRIPT, *arguments]


def main() -> None:
    """Run the command line."""
    _put_us_first()
    from monitor.cli import main as command_line  # noqa: PLC0415 - only after the path is ours

    command_line()


def _run_module() -> None:
    import runpy  # noqa: PLC0415 - only after the path is ours

    module = sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _put_us_first() -> None:
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    standard = [entry for entry in sys.path if entry == library or entry.endswith(os.sep + "lib-dynload")]
    others = [entry for entry in sys.path if entry not in {*standard, _FOLDER}]
    sys.path[:] = [*standard, _FOLDER, *others]


if __name__ == "__main__":
    if sys.argv[1:2] == ["-m"]:
        _put_us_first()
        _run_module()
    else:
        main()
