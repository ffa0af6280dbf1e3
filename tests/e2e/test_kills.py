"""SIGKILL at random moments, some of them while a snapshot is written: no torn state is used, and little is lost.

`make kills` is the long version: more runs, one after the other, with other random numbers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.kills import Kill, Killing, Scene
from tests.harness.night_run import fresh_home

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

RUNS = int(os.environ.get("KILLED_RUNS", "1"))
KILLS = 2  # of a run: after a third life that ends within a minute nothing is started any more
INSIDE = 1  # of each run, in the writing of a file
EPOCHS = 2
WITHIN = 12  # batches from the death before, or from the start: the moment is drawn from so many
SEED = int(os.environ.get("KILLS_SEED", "1"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Long enough for every kill to fall into its first epoch."""
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    batches = (KILLS + 1) * WITHIN
    folder = tmp_path_factory.mktemp("kills")
    lab = make_lab(folder / "lab", images=batches * BATCH)
    return Scene(folder / "alone", lab.model, lab.arguments(folder), batches, EPOCHS)


@pytest.fixture(scope="module")
def expected(scene: Scene) -> str:
    """The weights of a training that nobody killed."""
    with fresh_home() as home:
        return scene.left_alone(home)


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


def as_said(kill: Kill) -> str:
    where = "in the writing of a file" if kill.inside else "between two"
    start = "a snapshot" if kill.snapshot else "a checkpoint"
    return (
        f"  generation {kill.generation}, {where}: {kill.lost} batches ({kill.lost_s:.2f} s) lost, from {start}; "
        f"slowest batch {kill.slowest_s:.2f} s, longest file {kill.longest_s:.2f} s"
    )


@pytest.mark.timeout(0 if RUNS > 1 else 600)
@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_a_training_that_is_killed_at_random_moments_ends_as_if_nobody_had(
    seed: int, scene: Scene, expected: str, home: Path
) -> None:
    draw = random.Random(seed)
    inside = [number < INSIDE for number in range(KILLS)]
    draw.shuffle(inside)
    mine = Scene(home / "training", scene.model, scene.arguments, scene.batches, scene.epochs)
    killing = Killing(mine, home, draw)
    print(f"\nseed {seed}: {KILLS} kills", flush=True)
    for number in range(KILLS):
        kill = killing.kill(inside=inside[number], within=WITHIN)
        print(as_said(kill), flush=True)
        assert kill.lost_s <= kill.allowed_s, as_said(kill)
    assert killing.finish() == 0, killing.run.shown
    kills = killing.kills
    assert sum(kill.inside for kill in kills) >= INSIDE, "no kill fell into the writing of a file"
    held = [batches for generation in range(1, KILLS + 2) for batches, _ in mine.lived(generation)]
    assert sorted(set(held)) == list(range(1, EPOCHS * scene.batches + 1)), "a batch was left out"
    assert all(kill.snapshot for kill in kills)
    assert mine.weights.read_text() == expected, "its weights are others than those of a training that nobody killed"
