"""A state folder on a disk that takes nothing: one sentence with the remedy, and nothing is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import _trainwarden

UNSHARE = shutil.which("unshare")


def on_a_disk(folder: Path, options: str, before: str) -> str:
    """What `trainwarden run` says with its state folder on a small file system of its own."""
    command = " ".join(_trainwarden.child_command("_trainwarden", "run", "--", sys.executable, "-c", "1"))
    script = f"mount -t tmpfs -o {options},mode=700 none {folder} && {before} && {command}; exit $?"
    done = subprocess.run(
        [UNSHARE or "unshare", "-rm", "sh", "-c", script],
        env={**os.environ, "TRAINWARDEN_HOME": str(folder)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine lets nobody mount a file system of his own")
    assert done.returncode == 78, done.stderr
    return done.stderr


@pytest.mark.skipif(UNSHARE is None, reason="unshare is not here")
def test_a_file_system_that_is_read_only_is_named_as_that(tmp_path: Path) -> None:
    """`chmod`, the usual remedy, would change nothing."""
    said = on_a_disk(tmp_path, "size=1m", f"mount -o remount,ro {tmp_path}")
    assert "lies on a file system that is read-only; set TRAINWARDEN_HOME to another" in said
    assert "chmod" not in said


@pytest.mark.skipif(UNSHARE is None, reason="unshare is not here")
def test_a_full_disk_is_said_with_its_folder_and_the_remedy(tmp_path: Path) -> None:
    said = on_a_disk(tmp_path, "size=64k", f"head -c 100k /dev/zero > {tmp_path}/fill; true")
    assert "No space left on device" in said
    assert str(tmp_path) in said
    assert "nothing was started: free some space, or set TRAINWARDEN_HOME to another folder" in said
