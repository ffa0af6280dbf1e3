"""Scans see every non-finite value and no finite one; backups give back exactly what they took."""

from __future__ import annotations

import math

import pytest
import torch

from trainer_hooks.tensors import StatisticsBackup, first_nonfinite, largest, read, unwrap


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_bad_value_anywhere_is_seen(bad: float, place: int) -> None:
    tensors = [torch.ones(2), torch.ones(3, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float16)]
    flat = [0, 0, 1, 1, 1, 2, 2]
    tensor = tensors[flat[place]]
    tensor.view(-1)[0] = bad
    measure = largest(tensors)
    assert measure is not None
    assert not math.isfinite(float(measure))
    named = [(str(index), tensor) for index, tensor in enumerate(tensors)]
    assert first_nonfinite(named) == str(flat[place])


def test_large_finite_values_are_no_fault() -> None:
    """The sum of their squares would be infinite in float32."""
    measure = largest([torch.full((1000,), 3e38)])
    assert measure is not None
    assert math.isfinite(float(measure))


def test_what_has_no_floating_value_has_no_measure() -> None:
    assert largest([torch.ones(3, dtype=torch.long), torch.empty(0)]) is None
    assert first_nonfinite([("count", torch.ones(3, dtype=torch.long))]) == ""


def test_scalars_are_read_in_their_order() -> None:
    assert read([torch.tensor(1.5), torch.tensor(2.0, dtype=torch.float16)]) == [1.5, 2.0]
    assert read([]) == []


def test_a_backup_restores_statistics_and_counter_exactly() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(2).half())
    backup = StatisticsBackup(model)
    measure = backup.begin()
    assert measure is not None
    assert backup.commit(float(measure))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model[0].running_mean.fill_(math.nan)
        model[1].running_var.fill_(7.0)
        model[0].num_batches_tracked += 5
    assert backup.first_bad() == "0.running_mean"
    assert backup.restore()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_poisoned_copy_never_becomes_the_backup() -> None:
    model = torch.nn.BatchNorm1d(2)
    backup = StatisticsBackup(model)
    assert not backup.restore(), "there is nothing to go back to yet"
    assert backup.commit(float(backup.begin()))  # type: ignore[arg-type]
    with torch.no_grad():
        model.running_mean.fill_(math.nan)
    assert not backup.commit(float(backup.begin()))  # type: ignore[arg-type]
    backup.restore()
    assert bool(torch.isfinite(model.running_mean).all())


def test_a_wrapped_model_is_found_inside_its_wrappers() -> None:
    model = torch.nn.Linear(1, 1)
    assert unwrap(torch.nn.DataParallel(model)) is model
    assert unwrap(model) is model
