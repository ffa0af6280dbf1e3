"""Each number of a snapshot is judged, or named as not judged, also where its torch had to write it as text (1.13)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.verify import Examination
from tests.unit.monitor.vault.conftest import examined
from trainer_hooks.snapshots import file, model_tensors, optimizer_tree, plain, random_tree
from trainer_hooks.wire.number_text import number_of, text_of

NAN, INF = float("nan"), float("inf")
Change = Callable[[Any], Any]


def snapshot() -> dict[str, Any]:
    """As one of an Ultralytics trainer, around a tiny model."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "framework": "ultralytics",
        "epoch": 1,
        "model": model_tensors(model),
        "optimizer": optimizer_tree(optimizer),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5},
        "own": plain({
            "best_fitness": 0.5, "fitness": 0.4, "metrics": {"val/box_loss": 1.5}, "lr": {"lr/pg0": 0.1},
        }),
        "stopper": {"best_fitness": 0.5, "best_epoch": 1},
        "means": torch.ones(3),
        "random": random_tree(),
    }  # fmt: skip


def as_texts(tree: Any) -> Any:
    """As torch 1.13 has to write it."""
    if isinstance(tree, dict):
        return {key: as_texts(each) for key, each in tree.items()}
    if isinstance(tree, list):
        return [as_texts(each) for each in tree]
    return text_of(tree) if isinstance(tree, float) else tree


def put(number: float, *path: str | int) -> Change:
    def change(tree: Any) -> Any:
        at = tree
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = number
        return tree

    return change


POISONED, UNVERIFIED, SOUND = Verdict.POISONED, Verdict.UNVERIFIED, Verdict.SOUND
CASES: dict[str, tuple[Change, Verdict]] = {
    "nothing": (lambda tree: tree, SOUND),
    "the optimizer's state": (put(NAN, "optimizer", "state", 0, "mu_product"), POISONED),
    "the optimizer's state, infinite": (put(INF, "optimizer", "state", 1, "step"), POISONED),
    "a rate": (put(NAN, "optimizer", "param_groups", 0, "lr"), POISONED),
    "an infinite rate": (put(INF, "optimizer", "param_groups", 0, "lr"), POISONED),
    "the loss scale": (put(NAN, "scaler", "scale"), POISONED),
    "a loss scale of zero": (put(0.0, "scaler", "scale"), POISONED),
    "a loss that was validated": (put(NAN, "own", "metrics", "val/box_loss"), SOUND),
    "the best fitness": (put(NAN, "own", "best_fitness"), SOUND),
    "the best fitness of the stopper": (put(INF, "stopper", "best_fitness"), SOUND),
    "a rate that the trainer keeps": (put(NAN, "own", "lr", "lr/pg0"), UNVERIFIED),
    "the mean of the losses, as a number": (put(NAN, "means"), SOUND),
    "the next random number": (put(NAN, "random", "python", 2), UNVERIFIED),
    "what nobody has a name for": (put(NAN, "own", "something"), UNVERIFIED),
}


def written(tree: Any, path: Path) -> Examination:
    torch.save({"trainwarden_snapshot": file.FORMAT, **tree}, path)
    return examined(path)


@pytest.mark.parametrize("case", CASES)
def test_a_number_is_judged_the_same_as_text_and_as_a_number(case: str, tmp_path: Path) -> None:
    change, verdict = CASES[case]
    as_number = written(change(snapshot()), tmp_path / "numbers.pt")
    as_text = written(as_texts(change(snapshot())), tmp_path / "texts.pt")
    assert as_number.verdict is verdict, as_number
    assert (as_text.verdict, as_text.reasons) == (as_number.verdict, as_number.reasons)
    assert bool(as_text.reasons) is (case != "nothing"), "a number that is not finite is named"


def test_what_this_torch_writes_is_judged_and_read_back_to_the_last_bit(tmp_path: Path) -> None:
    tree = put(0.1, "own", "fitness")(snapshot())
    file.write(tree, tmp_path / "good.pt", 1 << 20)
    assert examined(tmp_path / "good.pt").verdict is SOUND
    assert file.read(tmp_path / "good.pt")["own"]["fitness"].hex() == (0.1).hex()
    file.write(put(NAN, "optimizer", "state", 0, "mu_product")(snapshot()), tmp_path / "bad.pt", 1 << 20)
    assert examined(tmp_path / "bad.pt").verdict is POISONED


@pytest.mark.parametrize("text", ["", "one", "0x1p999999"])
def test_a_text_that_says_that_it_is_a_number_and_is_none_is_not_judged(text: str, tmp_path: Path) -> None:
    broken = text_of(1.0).replace((1.0).hex(), text)
    found = written({**snapshot(), "own": {"fitness": broken}}, tmp_path / "x.pt")
    assert found.verdict is UNVERIFIED
    assert found.reasons == ("own.fitness: a number written as text that is none",)


@pytest.mark.parametrize("text", ["", "nan", "float:nan", "a text"])
def test_any_other_text_is_a_text(text: str) -> None:
    assert number_of(text) is None
