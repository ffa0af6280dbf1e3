"""The main job, end to end: the command that a newcomer runs first, and the same night without trainwarden."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from _trainwarden import console_command

pytestmark = pytest.mark.training


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        console_command("demo", *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_the_demo_finds_every_one_of_its_own_claims_to_hold(tmp_path: Path) -> None:
    done = demo("--keep", str(tmp_path / "n"))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    checks = done.stdout.partition("What this command has verified")[2]
    assert len(re.findall(r"^    ok  ", checks, re.MULTILINE)) == 13
    assert "FAILED" not in checks
    report = re.search(r"The incident report: +(\S+)", done.stdout)
    assert report is not None
    text = Path(report[1]).read_text()
    assert re.search(r"rolled back to batch \d+ of epoch [34]|rolled back to the end of epoch 3", text)
    assert "Without snapshots it would have been" in text or "the end of epoch 3" in text


def test_the_same_night_without_trainwarden_is_lost(tmp_path: Path) -> None:
    done = demo("--control", "--keep", str(tmp_path / "n"))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "RuntimeError: Training failed: NaN persisted" in done.stderr + done.stdout
    assert "Ultralytics alone did not survive it: exit code 1" in done.stdout
