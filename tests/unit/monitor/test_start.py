"""Whose files our own processes import: ours, whatever lies in the working folder or beside our packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import _trainwarden

SHADOWED = ("monitor", "alerts", "trainer_hooks", "msgspec", "typing", "pathlib", "argparse")
MODULES = ("monitor", "monitor.vault.verify", "monitor.daemon.hardware")


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def traps(folder: Path, names: tuple[str, ...]) -> Path:
    """Modules that leave a file `ran` when they are imported, and end the process."""
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nraise SystemExit(3)\n")
    return folder / "ran"


@pytest.mark.parametrize("module", MODULES)
def test_a_child_imports_nothing_from_the_working_folder_or_pythonpath(module: str, tmp_path: Path) -> None:
    ran = traps(tmp_path, SHADOWED)
    done = run(_trainwarden.child_command(module, "--help"), tmp_path, PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    assert not ran.exists()


def test_the_command_line_imports_nothing_of_ours_from_the_working_folder(tmp_path: Path) -> None:
    ran = traps(tmp_path, ("monitor", "alerts", "trainer_hooks"))
    for path in (".", ""):
        done = run(_trainwarden.console_command("--help"), tmp_path, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
    assert not ran.exists()


def test_a_package_beside_ours_does_not_replace_the_standard_library(tmp_path: Path) -> None:
    """As an old backport of typing or pathlib in site-packages does."""
    ours = Path(_trainwarden.__file__).resolve().parent
    (tmp_path / "_trainwarden.py").write_bytes((ours / "_trainwarden.py").read_bytes())
    for package in ("monitor", "alerts", "trainer_hooks"):
        (tmp_path / package).symlink_to(ours / package)
    ran = traps(tmp_path, ("typing", "pathlib", "enum", "asyncio", "runpy"))
    command = _trainwarden.child_command("monitor", "--help")
    command[command.index(str(ours / "_trainwarden.py"))] = str(tmp_path / "_trainwarden.py")
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not ran.exists()
