"""What `trainwarden checkpoints` says of where to go on from."""

from __future__ import annotations

from monitor.cli.checkpoints_command import how_to_resume, resume_lines
from monitor.daemon.api.snapshots import CheckpointLine


def line(epoch: int, verdict: str, *, batches: int = 0, training: int = 1, **more: bool | str) -> CheckpointLine:
    given: dict[str, object] = {"path": f"/vault/{training}-{epoch}.pt", "dropped": False} | more
    return CheckpointLine(
        epoch=epoch, generation=1, verdict=verdict, why="", saved_s=1.0, size=1, digest="d", is_best=False,
        training=training, batches=batches, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_newest_clean_one_is_named_with_its_step_and_path_and_how_to_go_on() -> None:
    found = [line(1, "clean", batches=100), line(1, "clean", batches=180), line(1, "suspect", batches=400)]
    found[1] = line(1, "clean", batches=180, path="/vault/newer.pt")
    assert resume_lines(found) == [
        "Newest clean checkpoint: epoch 1, after 180 batches of generation 1: /vault/newer.pt",
        how_to_resume(),
    ]


def test_each_training_has_its_own_and_a_copy_that_is_gone_is_not_offered() -> None:
    found = [line(2, "clean", batches=20), line(3, "clean", batches=30, dropped=True), line(1, "suspect", training=2)]
    assert resume_lines(found)[:2] == [
        "Newest clean checkpoint of training 1: epoch 2, after 20 batches of generation 1: /vault/1-2.pt",
        "Newest clean checkpoint of training 2: none yet.",
    ]


def test_without_a_clean_one_nothing_is_said_of_going_on() -> None:
    assert resume_lines([line(1, "poisoned"), line(2, "suspect")]) == ["Newest clean checkpoint: none yet."]
