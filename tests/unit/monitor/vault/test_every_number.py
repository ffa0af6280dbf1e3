"""A number is judged, or said not to be, wherever a checkpoint keeps it. An honest record of a NaN is no damage."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monitor.core.model import Verdict
from tests.unit.monitor.vault.conftest import examined

NAN, INF = float("nan"), float("inf")


def weights() -> dict[str, torch.Tensor]:
    return dict(torch.nn.Linear(4, 4).state_dict())


class Holder(torch.nn.Module):
    """A module that keeps something as an attribute."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.kept = value


def tensor_with_attribute() -> torch.Tensor:
    made = torch.ones(2, 2)
    made.average = torch.full((2, 2), NAN)  # type: ignore[attr-defined]
    return made


def kept(file: Path) -> bool:
    """True: the attribute is in the file. Releases before 2.0 leave it out."""
    return hasattr(torch.load(file, weights_only=False)["model"]["w"], "average")


def parameter(value: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(value))


def shared(both: torch.Tensor) -> dict[str, Any]:
    """The record comes first in the file."""
    return {"metrics": {"best": both}, "model": {"w": both, **weights()}}


BAD: dict[str, Callable[[], Any]] = {
    "a numpy array": lambda: {"model": weights(), "ema": np.full((4, 4), NAN, dtype=np.float32)},
    "decimals": lambda: {"model": weights(), "ema": [Decimal("0.5"), Decimal("NaN")]},
    "a decimal that signals": lambda: {"model": {**weights(), "scale": Decimal("sNaN")}},
    "a numpy array of half precision": lambda: {"model": {"w": np.full(4, INF, dtype=np.float16)}},
    "a numpy array of complex numbers": lambda: {"model": {"w": np.full(4, complex(0, NAN))}},
    "a numpy array, big-endian": lambda: {"model": {"w": np.array([1.0, NAN], dtype=">f8")}},
    "a numpy array in the order of columns": lambda: {"model": {"w": np.asfortranarray([[1.0, NAN], [0.0, 1.0]])}},
    "a numpy scalar": lambda: {"model": {**weights(), "scale": np.float32(NAN)}},
    "a numpy array of objects": lambda: {
        "model": {**weights(), "w": np.array([torch.tensor([NAN]), None], dtype=object)}
    },
    "a numpy array of records": lambda: {"model": {**weights(), "w": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])}},
    "a list": lambda: {"model": {**weights(), "w": [0.5, NAN]}},
    "a list of lists": lambda: {"model": weights(), "ema": [[1.0, 2.0], [INF, 0.0]]},
    "a tuple at the top": lambda: (weights(), (1.0, NAN)),
    "a plain number": lambda: {"model": {**weights(), "scale": NAN}},
    "a plain number in a flat state_dict": lambda: {**weights(), "scale": INF},
    "a tensor without dimensions": lambda: {"model": {**weights(), "logit_scale": torch.tensor(INF)}},
    "a parameter named like an extremum": lambda: {
        "model": {**weights(), "min_val": torch.nn.Parameter(torch.tensor(INF))}
    },
    "an extremum on the wrong side": lambda: {"model": {**weights(), "min_val": torch.tensor(-INF)}},
    "a layer called loss": lambda: {**weights(), "loss.weight": torch.full((4, 4), NAN)},
    "a layer called metrics": lambda: {"model": weights(), "metrics": {"weight": torch.full((4,), NAN)}},
    "a matrix among the metrics": lambda: {"model": weights(), "metrics": {"best": torch.full((4, 4), NAN)}},
    "a vector of an unknown name among the settings": lambda: {
        "model": weights(),
        "config": {"anchors": torch.tensor([NAN])},
    },
    "a decay by time, which sounds like a record": lambda: {**weights(), "blocks.0.time_decay": torch.full((4,), NAN)},
    "a record beside weights at the top": lambda: {**weights(), "best_score": torch.full((4,), NAN)},
    "weights that a record shares": lambda: shared(torch.full((4,), NAN)),
    "a matrix of minus infinity": lambda: {"model": {**weights(), "w.weight": torch.tensor([[0.0, -INF], [0.0, 0.0]])}},
    "an attribute of a module": lambda: Holder(NAN),
    "a list that a module keeps": lambda: Holder([1.0, NAN]),
    "a tensor that a module keeps": lambda: Holder(torch.tensor(NAN)),
    "a tensor within a set of lists": lambda: {"model": weights(), "more": [[[{"deep": [torch.tensor([NAN])]}]]]},
    "a key that is a tensor": lambda: {"model": weights(), "state": {parameter(NAN): 1}},
    "a complex number": lambda: {"model": {**weights(), "w": complex(NAN, 0)}},
    "an attribute of a tensor": lambda: {"model": {**weights(), "w": tensor_with_attribute()}},
    "many bytes": lambda: {"model": {**weights(), "w": np.full(1000, NAN).tobytes()}},
    "the optimizer's state": lambda: {
        "model": weights(),
        "optimizer": {"state": {0: {"step": NAN}}, "param_groups": []},
    },
    "the next rate of a schedule": lambda: {"model": weights(), "lr_scheduler": {"_last_lr": [NAN]}},
    "a rate in a file that is an optimizer's": lambda: {"state": {0: weights()}, "param_groups": [{"lr": NAN}]},
    "a rate far down": lambda: {"model": weights(), "trainer": {"optimizer": {"param_groups": [{"lr": NAN}]}}},
    "a rate that another key hides": lambda: {
        "model": weights(),
        "optimizer": {"param_groups": [{"lr": NAN}]},
        "optimizer.param_groups.0.lr": 0.1,
    },
    "weights among the metrics, as a list": lambda: {"model": weights(), "metrics": {"weights": [NAN]}},
    "a list of vectors that sound like a record": lambda: {"model": weights(), "time_embed": [torch.full((4,), NAN)]},
    "a rate that is a tensor": lambda: {
        "model": weights(),
        "optimizer": {"state": {}, "param_groups": [{"lr": torch.tensor(NAN)}]},
    },
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_number_is_never_sound(case: str, tmp_path: Path) -> None:
    torch.save(BAD[case](), tmp_path / "x.pt")
    if case == "an attribute of a tensor" and not kept(tmp_path / "x.pt"):
        pytest.skip("this torch saves no attributes of tensors")
    for seen_saved in (False, True):
        found = examined(tmp_path / "x.pt", seen_saved=seen_saved)
        assert found.numbers in (Verdict.POISONED, Verdict.UNVERIFIED), found
        assert found.verdict is found.numbers
        assert found.reasons


HONEST: dict[str, Callable[[], Any]] = {
    "losses, one of them NaN": lambda: {"model": weights(), "losses": [1.0, NAN, 0.5]},
    "the best so far": lambda: {"model": weights(), "best_loss": INF, "best_acc": NAN, "epoch": 3},
    "the best so far, as a tensor": lambda: {"model": weights(), "best_loss": torch.tensor(INF)},
    "a history": lambda: {"model": weights(), "history": {"train_loss": [NAN], "val_loss": np.array([1.0, NAN])}},
    "a history of norms": lambda: {"model": weights(), "history": {"grad_norm": [1.0, INF], "lr": [0.1, NAN]}},
    "a schedule that waits": lambda: {
        "model": weights(),
        "scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([torch.ones(1)], 0.1)).state_dict(),
    },
    "a limit that is off": lambda: {"model": weights(), "cfg": {"max_norm": INF}, "trainer": {"clip": INF}},
    "a module's own limit": lambda: Holder(INF),
    "an optimizer's limit": lambda: {"model": weights(), "optimizer": {"param_groups": [{"lr": 0.1, "max": INF}]}},
    "a mask": lambda: {"model": {**weights(), "attention.mask": torch.full((8, 8), -INF).triu(1)}},
    "an array of text": lambda: {"model": weights(), "names": np.array(["a", "b"]), "ids": np.arange(4)},
    "an empty array": lambda: {"model": weights(), "none": np.zeros((0, 4))},
    "bytes of a date": lambda: {"model": weights(), "key": b"x" * 64},
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_record_leaves_a_file_sound(case: str, tmp_path: Path) -> None:
    torch.save(HONEST[case](), tmp_path / "x.pt")
    found = examined(tmp_path / "x.pt", seen_saved=True)
    assert found.verdict is Verdict.SOUND, found


def test_a_record_of_a_nan_is_named(tmp_path: Path) -> None:
    torch.save(HONEST["losses, one of them NaN"](), tmp_path / "x.pt")
    (reason,) = examined(tmp_path / "x.pt").reasons
    assert (
        reason == "1 number is NaN or infinite outside of tensors, first losses.1: nan: a record, no part of the model"
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("code", ["<f2", "<f4", "<f8", ">f4", "<c8", "<i4", "|b1", "<u2"])
def test_arrays_are_read_as_numpy_reads_them(code: str, protocol: int, tmp_path: Path) -> None:
    from monitor.vault.contents import read_contents

    array = np.array([[1, 0, 1], [0, 1, 1]]).astype(code)
    torch.save({"model": weights(), "array": array, "turned": array.T}, tmp_path / "x.pt", pickle_protocol=protocol)
    with (tmp_path / "x.pt").open("rb") as file:
        read = {tensor.name: tensor for tensor in read_contents(file).tensors}
    assert (read["array"].shape, read["turned"].shape) == ((2, 3), (3, 2))
    assert sorted(read["array"].raw.tolist(), key=str) == sorted(array.flatten().tolist(), key=str)
    assert read["array"].is_float is (array.dtype.kind in "fc")
