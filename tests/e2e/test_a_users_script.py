"""A user's script that patches, clips and skips by itself, in the background under nohup, its output in a file."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.night_run import Supervised, fresh_home, trainwarden
from tests.harness.users_training import Ended, assert_same_weights, assert_usable, skipped_by, train_alone

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]

RUN = "user"
BATCHES, EPOCHS = 10, 4
ALONE, WATCHED, FAULTY, ROLLED_BACK = "alone", "watched", "faulty", "rolled back"
BAD = {
    ALONE: set(),
    WATCHED: set(),
    FAULTY: {(2, 3), (2, 4), (3, 7), (4, 0)},
    ROLLED_BACK: {(3, 2)},  # and there a weight is not finite either: that no skip can cure
}


def train(name: str, home: Path, argv: list[str]) -> Ended:
    """One training under nohup, from its command line to its end."""
    if name == ALONE:
        return train_alone(home, argv)
    run = Supervised(home, argv, run=RUN, policy="version: 1\n", prefix=("nohup",))
    run.until_says("epoch 2 starts")
    run.process.send_signal(signal.SIGHUP)  # the user logs out
    return Ended(home, run.wait(), run.shown)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """The same training four times, two at a time, each from the last.pt of the one that died."""
    pytest.importorskip("ultralytics")
    from tests.harness.users_script import first_training, go_on_from, write_script
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(tmp_path_factory.mktemp("yolo-config"))
    lab = make_lab(tmp_path_factory.mktemp("lab"), images=BATCHES * BATCH)
    settings = {
        "epochs": EPOCHS,
        "imgsz": 64,
        "lr0": 0.002,
        "momentum": 0.9,
        "warmup_epochs": 1,
        "warmup_bias_lr": 0.05,
    }
    runs = first_training(tmp_path_factory.mktemp("first"), lab, **settings)
    with ExitStack() as stack:
        homes = [stack.enter_context(fresh_home()) for _ in BAD]
        argvs = []
        for home, bad in zip(homes, BAD.values(), strict=True):
            go_on_from(runs, home)
            argvs.append(write_script(home, lab, bad, damage=bad is BAD[ROLLED_BACK], **settings))
        with ThreadPoolExecutor(2) as pool:
            yield dict(zip(BAD, pool.map(train, BAD, homes, argvs), strict=True))


@pytest.fixture(autouse=True)
def own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the script's checkpoints needs a class of this name in the main module."""
    monkeypatch.setattr(sys.modules["__main__"], "OwnForward", type("OwnForward", (), {}), raising=False)


def test_without_a_fault_the_figures_and_the_weights_are_the_same_to_the_last_bit(ended: dict[str, Ended]) -> None:
    alone, watched = ended[ALONE], ended[WATCHED]
    assert (alone.code, watched.code) == (0, 0), watched.shown
    assert len(watched.figures) == EPOCHS + 1
    assert watched.figures == alone.figures
    assert_same_weights(watched, alone)
    assert set(skipped_by(watched.home).values()) == {0.0}
    assert "switched off" not in watched.shown


def test_bad_batches_are_cured_and_the_steps_that_the_script_leaves_out_are_its_own(ended: dict[str, Ended]) -> None:
    over = ended[FAULTY]
    assert over.code == 0, over.shown
    assert sorted(over.fired) == sorted(f"{epoch} {batch}" for epoch, batch in BAD[FAULTY]), "the fault did not fire"
    assert over.shown.count(": step skipped") == len(BAD[FAULTY]), "the script sees what it saw without us"
    by = skipped_by(over.home)
    assert by.pop("script") == len(BAD[FAULTY])
    assert set(by.values()) == {0.0}
    assert "rolled back" not in over.shown
    assert_sound(over)
    assert over.last_loss < 1.1 * ended[ALONE].last_loss, "it ends as low as a healthy training does"


def test_a_damaged_training_of_the_script_goes_back_to_a_clean_state(ended: dict[str, Ended]) -> None:
    over = ended[ROLLED_BACK]
    assert over.code == 0, over.shown
    assert over.fired == ["3 2"], "the fault did not fire"
    assert over.shown.count("rolled back in its process: gone back to") == 1, over.shown
    assert over.figures[-1][0] == str(EPOCHS)
    assert_sound(over)


def assert_sound(over: Ended) -> None:
    """last.pt can be used, and the newest copies can be trusted, or wait for batches that prove them."""
    assert_usable(over)
    shown = json.loads(trainwarden(over.home, "checkpoints", RUN, "--json").stdout)
    verdicts = {line["verdict"] for line in sorted(shown, key=lambda line: line["saved_s"])[-3:]}
    assert verdicts <= {"clean", "suspect"}, shown
