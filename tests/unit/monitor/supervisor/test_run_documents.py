"""How many generations in a row ended early, by the documents of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.supervisor.run_documents import EARLY_S, RunDocuments, open_new
from tests.harness.supervisor import obey, plan_for
from trainer_hooks.wire.document_io import write
from trainer_hooks.wire.plan import Checkpoint
from trainer_hooks.wire.run_documents import Exit, Generation, RunSpec


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDocuments]:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    opened = open_new(RunSpec(run="r", argv=("train",), cwd="/", created_s=0.0, act=True), "version: 1\n")
    yield opened
    opened.close()


def killed(documents: RunDocuments, number: int, lived_s: float = 5.0) -> int:
    """Generation `number` was killed; how many in a row ended early."""
    write(
        documents.folder.generation(number),
        Generation(number=number, nonce="n", allocated_by="supervisor", started_s=100.0),
    )
    over = Exit(number=number, code=None, signal=9, ended_s=100.0 + lived_s)
    early = documents.early_ends(over)
    write(documents.folder.exit(number), over)
    return early


def goes_on(documents: RunDocuments, number: int, epoch: int, batches: int, training: int = 1) -> None:
    """Generation `number` has a plan to start from this state."""
    state = Checkpoint(path="/s.pt", digest="0", epoch=epoch, extra_batches=batches)
    write(documents.folder.plan(number), plan_for(number, Path("train"), None, snapshot=state, training=training))


def test_generations_that_end_early_are_counted_until_one_lived_longer(documents: RunDocuments) -> None:
    assert [killed(documents, number) for number in (1, 2)] == [1, 2]
    assert killed(documents, 3, EARLY_S) == 0
    assert killed(documents, 4) == 1


def test_one_that_left_a_later_state_is_not_counted(documents: RunDocuments) -> None:
    """However short it was: how often a training is started again from the same state is a setting of the policy."""
    early = []
    for number in range(1, 6):
        early.append(killed(documents, number))
        goes_on(documents, number + 1, number // 3, 4 * number)
    assert early == [1] * 5
    goes_on(documents, 7, 1, 20)
    assert killed(documents, 6) == 1
    assert killed(documents, 7) == 2, "generation 6 came no further"


def test_a_later_training_of_the_script_counts_as_further(documents: RunDocuments) -> None:
    killed(documents, 1)
    goes_on(documents, 2, 2, 0)
    killed(documents, 2)
    goes_on(documents, 3, 0, 10, training=2)
    assert killed(documents, 3) == 1


def test_a_plan_that_can_t_be_read_proves_nothing(documents: RunDocuments) -> None:
    killed(documents, 1)
    documents.folder.plan(2).write_bytes(b"{")
    assert killed(documents, 2) == 2


def test_one_that_obeyed_an_order_is_not_counted(documents: RunDocuments) -> None:
    killed(documents, 1)
    obey(documents.folder, "order-2", 1)
    assert killed(documents, 2) == 1
