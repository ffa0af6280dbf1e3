"""The newest saved state is torn by a power cut: the run goes on from the one below it, and says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.harness.night_run import Daemon, NightRun, trainwarden
from tests.harness.power_cut import power_cut

TRAINING = ("--bad", "", "--epochs", "4", "--batches", "20", "--batch-s", "0.1")


def newest(folder: Path) -> Path:
    """The copy of epoch 2, which is the second."""
    (found,) = [*folder.glob("*-e2-*.pt"), *folder.glob("g1-*-00002.pt")]
    return found


def tear(file: Path, keep: float) -> None:
    """A part of it, and zeros up to its length: its name and its size were on disk before its data."""
    size = file.stat().st_size
    os.truncate(file, int(size * keep))
    os.truncate(file, size)


@pytest.mark.parametrize("examined", [True, False])
def test_a_torn_state_is_passed_over_for_the_one_below(examined: bool, home: Path, checkpoints: Path) -> None:
    run = NightRun(home, checkpoints, *TRAINING)
    run.until_says("checkpoint of epoch 1: sound")
    if examined:
        run.until_says("checkpoint of epoch 2: sound")
    else:
        run.process.send_signal(signal.SIGSTOP)  # it starts no other daemon meanwhile
        assert Daemon(home).kill()
        spooled = run.folder.spool / "g1-t1-r0-00002.pt.json"
        run.until("the copy of epoch 2", spooled.exists)
    power_cut(run)
    tear(newest(run.folder.vault if examined else run.folder.spool), 0.6)
    done = trainwarden(home, "resume", "--port", "0", "night")
    assert done.returncode == 0, done.stderr
    assert "Generation 2 goes on at epoch 2" in done.stderr
    assert "checkpoint of epoch 2: unverified (the bytes differ from those that were saved" in done.stderr
    assert run.rows() == ["1", "2", "3", "4"]
