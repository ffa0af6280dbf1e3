"""The objects that the state of a loop is made of, as far as `watch` was given them: as plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from trainer_hooks.recorder.healed import Healed, states_of, unmeant
from trainer_hooks.snapshots import (
    Tree,
    model_tensors,
    optimizer_tree,
    plain,
    put_back_optimizer,
    put_back_random,
    random_tree,
)
from trainer_hooks.snapshots.in_place import put_back_state
from trainer_hooks.snapshots.objects import StateMismatchError, check_optimizer, check_tensors, put_back_tensors
from trainer_hooks.snapshots.tree import NotPlainError
from trainer_hooks.steps import optimizers_within
from trainer_hooks.tensors import any_nonfinite, first_nonfinite, parameters_of, unwrap

FRAMEWORK = "torch"


class UnknownStateError(Exception):
    """The state of this loop can't be saved. Says which object is why."""


class SavedState:
    """What can be saved of one loop, and put back into the same objects."""

    def __init__(
        self,
        model: Any,
        optimizers: list[Any],
        average: Any = None,
        scaler: Any = None,
        scheduler: Any = None,
        loader: Any = None,
    ) -> None:
        """Raises UnknownStateError."""
        if not isinstance(model, torch.nn.Module):
            raise UnknownStateError(f"the model is a {type(model).__name__} and no torch.nn.Module")
        if not optimizers:
            raise UnknownStateError("there is no optimizer")
        self._model = model
        self._optimizers = list({id(each): each for one in optimizers for each in optimizers_within(one)}.values())
        self._successors = 0  # other optimizers that the training has taken since
        self._average = average
        self._others = {"scaler": scaler, "scheduler": scheduler, "loader": loader}
        self._masks, self._average_masks = _masks_of(unwrap(model)), _masks_of(_module_of(average))
        self._average_tensors()
        odd = [name for name, tensor in self._tensors().items() if not _is_plain(tensor)]
        if odd:
            raise UnknownStateError(f"{odd[0]} is a tensor of a kind that can't be copied")

    def follow(self, old: Any, optimizer: Any) -> None:
        """The training steps with `optimizer` now, and with `old` no more. What was saved before is of another one."""
        if any(each is optimizer for each in self._optimizers):
            return
        gone = optimizers_within(old)
        kept = [each for each in self._optimizers if all(each is not one for one in gone)]
        self._optimizers = [*optimizers_within(optimizer), *kept]
        self._successors += 1

    def layout(self) -> tuple[int, ...]:
        """Which optimizer it is, and how many parameters each of its groups holds: a saved state must have the same."""
        return self._successors, *(len(group["params"]) for each in self._optimizers for group in each.param_groups)

    def tree(self, epoch: int, batch: int, batches_per_epoch: int) -> Tree:
        """Everything after batch `batch` (from 0) of epoch `epoch` (from 1). Nothing is copied yet.

        Raises NotPlainError where an optimizer holds something that can't be kept.
        """
        return {
            "framework": FRAMEWORK,
            "epoch": epoch,
            "batch": batch,
            "batches_per_epoch": batches_per_epoch,  # 0: not known
            "model": self._tensors(),
            "average": self._average_tensors(),
            "successors": self._successors,
            "optimizers": [optimizer_tree(each) for each in self._optimizers],
            **{name: _state_of(owner, name) for name, owner in self._others.items()},
            "random": random_tree(),
        }

    def check(self, tree: Tree, batches_per_epoch: int) -> None:
        """Raises StateMismatchError where the state is not one of this loop's. Changes nothing."""
        try:
            if (had := tree["batches_per_epoch"]) != batches_per_epoch:
                raise StateMismatchError(f"an epoch has {batches_per_epoch} batches, the snapshot's had {had}")
            check_tensors(self._tensors(), tree["model"], "model")
            check_tensors(self._average_tensors(), tree["average"], "average")
            if tree.get("successors", 0) != self._successors:
                raise StateMismatchError("the training has taken another optimizer since that state was saved")
            if len(self._optimizers) != len(tree["optimizers"]):
                raise StateMismatchError("the number of optimizers is another one")
            for optimizer, saved in zip(self._optimizers, tree["optimizers"], strict=True):
                check_optimizer(optimizer, saved)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateMismatchError(
                f"the snapshot lacks what this loop has ({type(error).__name__}: {error})"
            ) from error

    def put_back(self, tree: Tree) -> None:
        """Parameters, buffers, average and optimizer state, while the loop goes on. Call `check` before.

        Its counters, rates, schedulers, scaler and random generators stay. Gradients of the state that is given up go.
        """
        put_back_tensors(self._tensors(), tree["model"])
        put_back_tensors(self._average_tensors(), tree["average"])
        for optimizer, saved in zip(self._optimizers, tree["optimizers"], strict=True):
            put_back_state(optimizer, saved)
        with torch.no_grad():
            for tensor in self._tensors().values():
                if tensor.grad is not None:
                    tensor.grad.zero_()

    def start_from(self, tree: Tree) -> None:
        """Everything, in a process that has just begun: also schedulers, scaler, loader and random generators."""
        put_back_tensors(self._tensors(), tree["model"])
        put_back_tensors(self._average_tensors(), tree["average"])
        for optimizer, saved in zip(self._optimizers, tree["optimizers"], strict=True):
            put_back_optimizer(optimizer, saved)
        for name, owner in self._others.items():
            if tree.get(name) is not None and owner is not None:
                owner.load_state_dict(tree[name])
        put_back_random(tree["random"])

    def lacks(self) -> str:
        """What a new start would need and a snapshot does not hold, a clause; empty: it holds everything."""
        for name in ("scaler", "scheduler"):
            if self._others[name] is not None and _state_of(self._others[name], name) is None:
                return f"the state of the {name} can't be kept"
        scheduled = any("initial_lr" in group for each in self._optimizers for group in each.param_groups)
        if scheduled and self._others["scheduler"] is None:
            return "watch() was not given the scheduler"
        return ""

    def first_bad(self) -> str:
        """The name of the first tensor that is not finite; empty: there is none. Waits for the device."""
        return next((name for name, tensor in self._everything().items() if any_nonfinite([tensor.detach()])), "")

    def check_healed(self, healed: Healed) -> None:
        """Raises NotNeededError; see Healed."""
        healed.check(unwrap(self._model), self._everything(), self._optimizers)

    def bad_beside_the_weights(self) -> list[str]:
        """What of buffers and average is not finite, where weights and optimizers are. Waits for the device."""
        named = unmeant(unwrap(self._model), self._everything())
        bad = [name for name, tensor in named.items() if any_nonfinite([tensor.detach()])]
        weights = {id(p) for each in self._optimizers for p in parameters_of(each)}
        weights |= {id(p) for p in unwrap(self._model).parameters()}
        whole = not any(id(named[name]) in weights for name in bad) and not first_nonfinite(states_of(self._optimizers))
        return bad if whole else []

    def put_back_beside(self, tree: Tree, names: list[str]) -> None:
        """Only these. Call `check` before."""
        saved = {**tree["model"], **{_of_average(name): tensor for name, tensor in tree["average"].items()}}
        everything = self._everything()
        put_back_tensors({name: everything[name] for name in names}, saved)

    def _everything(self) -> dict[str, torch.Tensor]:
        return {**self._tensors(), **{_of_average(k): v for k, v in self._average_tensors().items()}}

    def _average_tensors(self) -> dict[str, torch.Tensor]:
        return {n: t for n, t in average_tensors(self._average).items() if n not in self._average_masks}

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Of the model, and what the optimizers train beside it, such as weights of a loss."""
        found = {n: t for n, t in model_tensors(unwrap(self._model)).items() if n not in self._masks}
        known = {id(tensor) for tensor in found.values()}
        for place, optimizer in enumerate(self._optimizers):
            for index, parameter in enumerate(parameters_of(optimizer)):
                if id(parameter) not in known:
                    known.add(id(parameter))
                    found[f"optimizer {place}, parameter {index}"] = parameter
        return found


def _of_average(name: str) -> str:
    return f"average {name}"


def average_tensors(average: Any) -> dict[str, torch.Tensor]:
    """Of a moving average of the weights in any usual form. Raises UnknownStateError."""
    if average is None:
        return {}
    if (module := _module_of(average)) is not None:
        return model_tensors(module)
    listed = average.items() if isinstance(average, Mapping) else enumerate(average) if _is_list(average) else ()
    found = {str(name): tensor for name, tensor in listed}
    if not found or not all(isinstance(each, torch.Tensor) for each in found.values()):
        raise UnknownStateError(f"ema is a {type(average).__name__} and no module, dict or list of tensors")
    return found


def _module_of(average: Any) -> torch.nn.Module | None:
    """The module that an average is, or wraps under one of the usual names."""
    candidates = (average, getattr(average, "ema", None), getattr(average, "module", None))
    return next((each for each in candidates if isinstance(each, torch.nn.Module)), None)


def _masks_of(module: torch.nn.Module | None) -> frozenset[str]:
    """Buffers that hold infinities on purpose, such as an attention mask."""
    buffers = () if module is None else module.named_buffers()
    return frozenset(name for name, buffer in buffers if any_nonfinite([buffer]))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_plain(tensor: torch.Tensor) -> bool:
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided and not tensor.is_meta


def _state_of(owner: Any, what: str) -> Tree:
    """None: there is none, or it can't be kept; going back within the process does not need it.

    Functions, which OneCycleLR of older releases keeps there, are made by the script itself.
    """
    try:
        state = {} if owner is None else owner.state_dict()
        kept = {name: value for name, value in state.items() if not callable(value)}
        return None if owner is None else plain(kept, what)
    except (NotPlainError, AttributeError):
        return None
