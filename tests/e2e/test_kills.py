"""SIGKILL at random moments, some of them while a snapshot is written: no torn state is used, and little is lost.

`make kills` is the long version: more trainings, more kills of each, and some kills of supervisor and daemon with it.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.killed_training import HAND_WRITTEN, ULTRALYTICS, Scene
from tests.harness.kills import Kill, Killing, draw_moments
from tests.harness.night_run import fresh_home

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

RUNS = int(os.environ.get("KILLED_RUNS", "1"))
KILLS = int(os.environ.get("KILLS_OF_EACH", "2"))
SEED = int(os.environ.get("KILLS_SEED", "1"))
INSIDE = (KILLS + 1) // 2  # of each run, in the writing of a file; fewer where the ends of epochs take their place
MACHINE = KILLS // 4  # of each run, of supervisor and daemon too
EPOCHS = min(KILLS, 4)


def ultralytics(folder: Path) -> Scene:
    pytest.importorskip("ultralytics")
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(folder / "yolo-config")
    lab = make_lab(folder / "lab", images=24 * BATCH)
    given = {"model": str(lab.model), "arguments": lab.arguments(folder)}
    return Scene(folder / "alone", ULTRALYTICS, given, lab.batches, EPOCHS)


def without_snapshots(folder: Path) -> Scene:
    """It goes on from the end of an epoch each time."""
    return dataclasses.replace(ultralytics(folder), snapshots=False)


def hand_written(folder: Path) -> Scene:
    """It asks where to start. Its batches take a third of the time."""
    return Scene(folder / "alone", HAND_WRITTEN, {}, 144, EPOCHS)


TRAININGS = {made.__name__: made for made in (ultralytics, without_snapshots, hand_written)}


@pytest.fixture(scope="module", params=os.environ.get("KILLED_TRAININGS", "ultralytics").split())
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return TRAININGS[request.param](tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def expected(scene: Scene) -> str:
    """The weights of a training that nobody killed."""
    with fresh_home() as home:
        return scene.left_alone(home)


@pytest.fixture(scope="module")
def kills() -> Iterator[list[Kill]]:
    """Of all runs; what they cost is printed at the end."""
    found: list[Kill] = []
    yield found
    for name, some in (("a snapshot", True), ("a checkpoint", False)):
        mine = [kill for kill in found if kill.snapshot is some]
        lost, lost_s = max((kill.lost for kill in mine), default=0), max((kill.lost_s for kill in mine), default=0.0)
        inside, machine = sum(kill.inside for kill in mine), sum(kill.moment.machine for kill in mine)
        ends = sum(kill.place not in ("batch", "epoch") for kill in mine)
        epochs = [sum(kill.epoch == epoch for kill in mine) for epoch in range(1, EPOCHS + 1)]
        print(
            f"\n{len(mine)} kills followed by {name}: {inside} in the writing of a file, {ends} at the end of an "
            f"epoch, {machine} of everything; {epochs} in each epoch; at most {lost} batches, {lost_s:.2f} s lost"
        )


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder


@pytest.mark.timeout(0 if RUNS > 1 else 600)
@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_a_training_that_is_killed_at_random_moments_ends_as_if_nobody_had(
    seed: int, scene: Scene, expected: str, kills: list[Kill], home: Path
) -> None:
    draw = random.Random(seed)
    mine = dataclasses.replace(scene, folder=home / "training")
    killing = Killing(mine, home, draw)
    # Without snapshots one file an epoch is too few to wait for, and three short lives from one state are the last.
    count, inside = (KILLS, INSIDE) if mine.snapshots else (EPOCHS, 0)
    print(f"\nseed {seed}: {count} kills", flush=True)
    for moment in draw_moments(draw, mine, count, inside=inside, machine=min(MACHINE, count)):
        kill = killing.kill(moment)
        kills.append(kill)
        print(kill, flush=True)
        assert kill.lost_s <= kill.allowed_s if mine.snapshots else kill.lost <= mine.batches, str(kill)
    assert killing.finish() == 0, killing.run.shown
    assert not inside or any(kill.inside for kill in killing.kills), "no kill fell into the writing of a file"
    held = {batches for generation in range(1, count + 2) for batches in mine.lived(generation)}
    assert held == set(range(1, EPOCHS * scene.batches + 1)), "a batch was left out"
    if all(kill.snapshot for kill in killing.kills):  # Ultralytics keeps the average alone in a checkpoint, in halves
        assert mine.weights.read_text() == expected, "its weights are others than those of a training nobody killed"
