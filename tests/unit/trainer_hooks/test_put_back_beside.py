"""A hit beside the weights, of a moving average or of BatchNorm: that alone is put back, and no training is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.trainer_hooks.test_plain_going_back import Bench, differing, snapshots_at_every_batch
from trainer_hooks.wire.messages import HookTrouble

__all__ = ["snapshots_at_every_batch"]  # used by every test here


def average_weight(bench: Bench) -> torch.Tensor:
    return bench.average.module.head.weight


HITS: dict[str, Callable[[Bench], torch.Tensor]] = {
    "average module.head.weight": average_weight,
    "norm.running_mean": lambda bench: bench.model.norm.running_mean,
    "seen": lambda bench: bench.model.seen,
}


def hit(bench: Bench, tensor: torch.Tensor, value: float = math.nan) -> None:
    """In its fourth batch; the order to go back to the state after the second one comes with the fifth."""
    for _ in range(4):
        bench.step()
    with torch.no_grad():
        tensor.fill_(value)
    bench.order((0, 2), for_nonfinite=True)


@pytest.mark.parametrize("name", HITS)
def test_it_alone_is_put_back_where_weights_and_optimizer_are_finite(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path)
    hit(bench, HITS[name](bench))
    bench.step()
    assert bench.answer.outcome == "healed", bench.answer.detail
    what, _, rest = bench.answer.detail.partition(",")
    assert what in (name, f"{name} and 1 more"), "from torch 2 on the average follows the buffers"
    assert rest == " from the state after batch 2 of epoch 1; weights and optimizer are finite, and stay as they are"
    assert torch.isfinite(HITS[name](bench)).all()
    again = Bench(tmp_path / "again")
    for _ in range(5):
        again.step()
    weights = [n for n in differing(bench.state(), again.state()) if n.startswith(("model", "optimizer"))]
    assert weights == [], "they lost nothing"
    assert not bench.probe.of(HookTrouble)


@pytest.mark.parametrize("place", ["weight", "momentum"])
def test_where_a_weight_or_a_momentum_is_hit_too_everything_goes_back(tmp_path: Path, place: str) -> None:
    bench = Bench(tmp_path)
    for _ in range(2):
        bench.step()
    expected = bench.state()
    hit(bench, average_weight(bench))

    def ruin_more() -> None:
        bench.optimizer.step()
        weight = bench.model.head.weight
        tensor = weight if place == "weight" else bench.optimizer.state[weight]["momentum_buffer"]
        with torch.no_grad():
            tensor.fill_(math.nan)

    bench.step(step=ruin_more)
    assert bench.answer.outcome == "applied", bench.answer.detail
    assert differing(expected, bench.state()) == []


def test_where_the_last_batch_is_not_finite_everything_goes_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    hit(bench, average_weight(bench))
    bench.step(bad=True, step=lambda: None)
    assert bench.answer.outcome == "applied", bench.answer.detail


def test_a_buffer_of_infinities_may_be_meant_and_nothing_is_put_back(tmp_path: Path) -> None:
    """A least value seen so far begins at infinity in each epoch."""
    bench = Bench(tmp_path)
    hit(bench, bench.model.seen, math.inf)
    bench.step()
    assert bench.answer.outcome == "declined", bench.answer.detail
    assert bench.model.seen.isinf()


def test_infinity_in_a_statistic_of_batchnorm_is_not_meant(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    hit(bench, bench.model.norm.running_var, math.inf)
    bench.step()
    assert bench.answer.outcome == "healed", bench.answer.detail
    assert torch.isfinite(bench.model.norm.running_var).all()
