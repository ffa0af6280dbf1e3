"""A plan whose training is over expires: it ends no other training, and starts nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_supervisor_relaunch import Relaunched
from tests.harness.supervisor import eventually, no_process_left
from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.last_counts import LastCounts, write_last_counts
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import TrainingClaim


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Relaunched]:
    """Its script goes on until it is asked to leave."""
    made = Relaunched(tmp_path)
    with no_process_left(made.folder):
        yield made


def ended(run: Relaunched, how: str) -> None:
    """Training 1 has reported its end; its process goes on with another one."""
    write_last_counts(run.folder, LastCounts(training=1, generation=1, rank=0, wall_s=1.0, sent_s=1.0, how=how))


def killed(run: Relaunched) -> None:
    """Training 1 ran in a child, which is gone without a word."""
    child = subprocess.Popen(["true"])
    child.wait()
    claim = TrainingClaim(
        number=1, generation=1, pid=child.pid, parent_pid=os.getpid(), position=1, call_site="", arguments_digest="",
        job="", rank=0, claimed_s=1.0,
    )  # fmt: skip
    write(run.folder.claim(1, 1), claim)


@pytest.mark.parametrize("end", ["finished", "exception", "killed"])
def test_it_is_put_aside_and_the_run_goes_on_to_its_own_end(end: str, run: Relaunched) -> None:
    process = run.start()
    killed(run) if end == "killed" else ended(run, end)
    run.plan(grace_s=0.5)
    void = run.folder.root / "void-plan-2.json"
    eventually("the plan has expired", void.exists)
    eventually("that is written down", run.folder.receipt("order-2").exists)
    receipt = read(run.folder.receipt("order-2"), Receipt)
    assert (receipt.outcome, receipt.training) == ("refused", 1)
    assert process.poll() is None
    (run.folder.root / "leave").write_text("0")
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert "Plan plan-2 has expired: training 1 ended before it saw the order" in shown
    assert "generation 2 from" not in shown


@pytest.mark.parametrize("how", ["", "order"])
def test_a_training_that_goes_on_or_that_leaves_by_the_order_keeps_its_plan(how: str, run: Relaunched) -> None:
    process = run.start()
    ended(run, how)
    run.plan(grace_s=0.5)
    shown, _ = process.communicate(timeout=60)
    assert "did not leave in time" in shown
    assert "generation 2 from plan-2" in shown
    assert process.returncode == 0, shown
