"""What is wrong with a checkpoint's numbers. Finite is not clean: a save that repairs NaN leaves zeros behind. Pure.

Every finding is a sentence with the first place, the count and the total. What a healthy file may also show (masks
of -inf, fresh zero weights, dead BatchNorm channels) is a remark at most: a false alarm costs a good checkpoint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from monitor.core.model.frameworks import checkpoint_keys
from monitor.vault.contents import Contents, Scalar, shown
from monitor.vault.loose_numbers import Loose, sort_loose
from monitor.vault.roles import KeyRole, is_record, is_walked_last, role_of
from monitor.vault.tensors import Tensor

_LIGHTNING = "pytorch-lightning_version"  # no integration describes it, and its files are verified all the same
_NEVER_NEGATIVE = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "max_exp_avg_sqs")  # running means of squares
_NO_MASKS = (".weight", ".bias", ".kernel")
_EXTREMUM = re.compile(r"(^|[._])a?(?P<which>min|max)(_val|imum)?s?$")  # the last part of a name
_ZERO_SHARE = 0.5  # with more all-zero weights it is not an initialisation: LoRA starts with exactly half of them


class Findings(NamedTuple):
    """The result of judging one checkpoint's numbers."""

    faults: tuple[str, ...]  # any: poisoned
    unjudged: tuple[str, ...]  # numbers that are not finite and may or may not matter; any: not sound
    remarks: tuple[str, ...]  # worth knowing, no fault
    stripped: bool  # the optimizer was taken out after training: nothing can resume from it
    has_optimizer: bool
    has_weights: bool
    epoch: int | None  # the last epoch it holds, from 1; None where the framework's way of counting is not known


class _Census(NamedTuple):
    """What the numbers of one tensor are like."""

    elements: int
    nonfinite: int
    positive: int  # above zero; NaN is not
    negative: int
    harmless: bool  # its infinities are what healthy files hold: a mask, or an extremum not met yet


class _Counted(NamedTuple):
    tensor: Tensor
    census: _Census


def judge(contents: Contents) -> Findings:
    """Look at every number of the weights, the buffers and the optimizer state once."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN: counted, not warned about
        counted = [_Counted(tensor, _census(tensor)) for tensor in contents.tensors if tensor.is_float]
    weights = [one for one in counted if _role(one.tensor) is KeyRole.WEIGHTS]
    optimizer = [one for one in counted if _role(one.tensor) is KeyRole.OPTIMIZER]
    records = [one for one in counted if _role(one.tensor) is KeyRole.RECORD]
    is_flat = any(one.tensor.name == one.tensor.top for one in weights)
    honest = [one for one in records if _is_honest(one.tensor, is_flat=is_flat)]
    doubtful = [one for one in records if not _is_honest(one.tensor, is_flat=is_flat)]
    loose = sort_loose(contents.loose, is_flat=is_flat)
    faults = [
        *_nonfinite(weights, "weight and buffer"),
        *_batch_norms(weights),
        *_zero_weights(weights),
        *_nonfinite(optimizer, "optimizer"),
        *_negative_squares(optimizer),
        *_scalar_faults(contents.scalars),
        *_loose(loose.faults, "of the optimizer's state or of the schedule"),
    ]
    return Findings(
        faults=tuple(faults),
        unjudged=(
            *(f"{text}: not judged" for text in _nonfinite(doubtful, "other")),
            *(f"{text}: not judged" for text in _loose(loose.doubtful, "outside of tensors")),
        ),
        remarks=(
            *_dead_channels(weights),
            *(f"{text}: a record, no part of the model" for text in _nonfinite(honest, "recorded")),
            *(f"{text}: a record, no part of the model" for text in _loose(loose.records, "outside of tensors")),
        ),
        stripped=_is_stripped(contents.scalars),
        has_optimizer=any(
            role_of(name.partition(".")[0]) is KeyRole.OPTIMIZER and "." in name
            for name in (*_names(contents), *contents.scalars)
        ),
        has_weights=bool(weights),
        epoch=_epoch(contents.scalars),
    )


def _names(contents: Contents) -> Iterator[str]:
    return (tensor.name for tensor in contents.tensors)


def _role(tensor: Tensor) -> KeyRole:
    """What the key at the top says; a number or a row of them under the name of a record is one wherever it lies."""
    role = role_of(tensor.top)
    if role is not KeyRole.WEIGHTS or not is_walked_last(tensor.top) or "." in tensor.top or tensor.is_parameter:
        return role
    return KeyRole.RECORD if len(tensor.shape) < 2 and is_record(tensor.name, tensor.top) else role


def _is_honest(tensor: Tensor, *, is_flat: bool) -> bool:
    """True for a record that may hold a NaN. Beside weights at the top of a file no name is proof of one."""
    if len(tensor.shape) >= 2 or tensor.is_parameter or (is_flat and tensor.name == tensor.top):
        return False
    return is_record(tensor.name, tensor.top)


def _loose(numbers: tuple[Loose, ...], where: str) -> Iterator[str]:
    if numbers:
        first = numbers[0]
        verb = "number is" if len(numbers) == 1 else "numbers are"
        yield f"{len(numbers)} {verb} NaN or infinite {where}, first {shown(first.name)}: {first.value}"


def _census(tensor: Tensor) -> _Census:
    elements = nonfinite = positive = negative = minus_inf = 0
    for chunk in tensor.chunks():
        elements += chunk.size
        positive += int(np.count_nonzero(chunk > 0))
        negative += int(np.count_nonzero(chunk < 0))
        bad = chunk.size - int(np.count_nonzero(np.isfinite(chunk)))
        nonfinite += bad
        minus_inf += int(np.count_nonzero(np.isneginf(chunk))) if bad else 0
    all_minus = nonfinite == minus_inf == negative and positive == 0 and minus_inf < elements
    mask = all_minus and len(tensor.shape) >= 2 and not tensor.is_parameter and not tensor.name.endswith(_NO_MASKS)
    # torch.ao's observers and running minima and maxima start at +inf and -inf, one number each.
    found = _EXTREMUM.search(tensor.name.lower()) if elements == 1 and not tensor.is_parameter else None
    extremum = found is not None and (positive if found["which"] == "min" else negative) == 1
    return _Census(elements, nonfinite, positive, negative, harmless=bool(nonfinite) and (mask or extremum))


def _nonfinite(counted: list[_Counted], kind: str) -> Iterator[str]:
    bad = [one for one in counted if one.census.nonfinite and not one.census.harmless]
    if bad:
        tensor, census = bad[0]
        yield (
            f"NaN or infinity in {len(bad)} of {len(counted)} {kind} tensors, first {shown(tensor.name)}: "
            f"{census.nonfinite} of {census.elements} numbers"
        )


def _variances(weights: list[_Counted]) -> list[_Counted]:
    return [one for one in weights if one.tensor.name.endswith("running_var") and one.census.elements]


def _batch_norms(weights: list[_Counted]) -> Iterator[str]:
    """Running variances below zero, or nowhere above it: no data gives those, NaN turned to zero does."""
    layers = _variances(weights)
    means = {one.tensor.name: one.census for one in weights if one.tensor.name.endswith("running_mean")}
    bad: dict[str, list[_Counted]] = {}
    for one in layers:
        mean = means.get(one.tensor.name.removesuffix("running_var") + "running_mean")
        if what := _variance_fault(one.census, mean):
            bad.setdefault(what, []).append(one)
    for what, found in bad.items():
        yield f"{len(found)} of {len(layers)} BatchNorm layers have {what}, first {shown(found[0].tensor.name)}"


def _variance_fault(variance: _Census, mean: _Census | None) -> str:
    """What is wrong with one layer's running variance; empty: nothing that is reported here."""
    if variance.negative:
        return "a negative running variance"
    if not _is_zero(variance):
        return ""
    if mean is None or _is_zero(mean):
        return "all-zero running mean and variance, which is what a save that repairs NaN leaves"
    return "a running variance that is nowhere above zero"


def _is_zero(census: _Census) -> bool:
    return not (census.positive or census.negative or census.nonfinite)


def _dead_channels(weights: list[_Counted]) -> Iterator[str]:
    """A channel that never fires has variance 0, and float16 rounds one below 3e-8 to 0: no fault by itself."""
    layers = _variances(weights)
    some = [
        one
        for one in layers
        if one.census.positive and one.census.positive < one.census.elements - one.census.nonfinite
    ]
    if some:
        dead = sum(one.census.elements - one.census.positive for one in some)
        total = sum(one.census.elements for one in layers)
        yield f"{dead} of {total} BatchNorm channels have running variance zero, first {shown(some[0].tensor.name)}"


def _zero_weights(weights: list[_Counted]) -> Iterator[str]:
    """All-zero matrices and kernels, by their share: biases and a few fresh weights start at zero."""
    named = [one for one in weights if one.tensor.is_parameter]
    large = [
        one
        for one in named or weights
        if len(one.tensor.shape) >= 2 and one.census.elements > 1 and not one.census.harmless
    ]
    zero = [one for one in large if _is_zero(one.census)]
    if zero and len(zero) > _ZERO_SHARE * len(large):
        yield f"{len(zero)} of {len(large)} weight tensors are all zero, first {shown(zero[0].tensor.name)}"


def _negative_squares(optimizer: list[_Counted]) -> Iterator[str]:
    squares = [one for one in optimizer if one.tensor.name.rpartition(".")[2] in _NEVER_NEGATIVE]
    bad = [one for one in squares if one.census.negative]
    if bad:
        yield (
            f"negative running means of squares in {len(bad)} of {len(squares)} optimizer tensors, "
            f"first {shown(bad[0].tensor.name)}: {bad[0].census.negative} of {bad[0].census.elements} numbers"
        )


def _scalar_faults(scalars: dict[str, Scalar]) -> Iterator[str]:
    """Settings of the parameter groups, and the loss scale."""
    floats = {name: value for name, value in scalars.items() if isinstance(value, float)}
    groups = {
        name: value for name, value in floats.items() if ".param_groups." in name and name.lower().startswith("optim")
    }

    def is_bad(name: str, value: float) -> bool:
        return math.isnan(value) or (math.isinf(value) and name.endswith((".lr", ".initial_lr")))

    bad = _first(groups, is_bad)
    if bad:
        yield f"the optimizer's setting {shown(bad)} is {groups[bad]}"
    scales = {name: value for name, value in floats.items() if _is_scale(name, floats)}
    bad = _first(scales, lambda _, value: not (math.isfinite(value) and value > 0))
    if bad:
        yield f"the loss scale {shown(bad)} is {scales[bad]}, it must be finite and above zero"


def _is_scale(name: str, floats: dict[str, float]) -> bool:
    """True for the scale of a GradScaler, wherever the framework put it: its growth factor lies beside it."""
    return name.endswith(".scale") and name.removesuffix("scale") + "growth_factor" in floats


def _first(values: dict[str, float], is_bad: Callable[[str, float], bool]) -> str | None:
    return next((name for name, value in values.items() if is_bad(name, value)), None)


def _is_stripped(scalars: dict[str, Scalar]) -> bool:
    """As some frameworks leave their checkpoints after training: without an optimizer, and with no epoch."""
    return any(
        scalars.get(keys.epoch) == keys.epoch_stripped
        or (keys.optimizer in scalars and scalars[keys.optimizer] is None)
        for keys in checkpoint_keys()
    )


def _epoch(scalars: dict[str, Scalar]) -> int | None:
    """The epoch that has ended, where the file shows by its keys who wrote it; of other files it is not known."""
    known = [(keys.epoch, keys.epoch_first) for keys in checkpoint_keys() if scalars.keys() >= {*keys.identifying}]
    if _LIGHTNING in scalars:
        known.append(("epoch", 0))
    for key, first in known:
        epoch = scalars.get(key)
        if type(epoch) is int and epoch >= first:
            return epoch - first + 1
    return None
