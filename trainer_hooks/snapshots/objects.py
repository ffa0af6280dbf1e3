"""What of torch's own objects belongs to a state, and how it comes back into the same objects."""

from __future__ import annotations

import random
import sys
from itertools import chain
from typing import Any

import torch

from trainer_hooks.snapshots.tree import Tree, plain


class StateMismatchError(Exception):
    """The state is of another training. Says what differs; nothing was changed."""


def model_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by its name, also the buffers that a state_dict leaves out. Tied ones stand once."""
    return dict(chain(module.named_parameters(), module.named_buffers()))


def check_model(module: torch.nn.Module, saved: dict[str, torch.Tensor], what: str) -> None:
    """Raises StateMismatchError where names or shapes differ."""
    check_tensors(model_tensors(module), saved, what)


def check_tensors(now: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], what: str) -> None:
    """As `check_model`, of any tensors that have names."""
    here = {name: tuple(tensor.shape) for name, tensor in now.items()}
    there = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    if here != there:
        odd = sorted(str(name) for name in here.keys() ^ there.keys() or {n for n in here if here[n] != there[n]})
        raise StateMismatchError(f"{what}: {odd[0]} and {len(odd) - 1} others are not as in the snapshot")


def put_back_model(module: torch.nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Into the same tensors, so that the optimizer and the average go on with them."""
    put_back_tensors(model_tensors(module), saved)


def put_back_tensors(now: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """As `put_back_model`. Call `check_tensors` before."""
    with torch.no_grad():
        for name, tensor in now.items():
            tensor.copy_(saved[name])


def optimizer_tree(optimizer: torch.optim.Optimizer) -> Tree:
    """State and parameter groups, without copying. Raises NotPlainError."""
    return plain(optimizer.state_dict(), "optimizer")


def check_optimizer(optimizer: torch.optim.Optimizer, saved: Tree) -> None:
    """Raises StateMismatchError where the groups hold other numbers of parameters."""
    here = [len(group["params"]) for group in optimizer.param_groups]
    there = [len(group["params"]) for group in saved["param_groups"]]
    if here != there:
        raise StateMismatchError(f"optimizer: its groups hold {here} parameters, the snapshot's {there}")


def put_back_optimizer(optimizer: torch.optim.Optimizer, saved: Tree) -> None:
    """State, rates and all that stands in its groups. Settings of this torch that the snapshot lacks stay."""
    groups = [
        {**{name: value for name, value in now.items() if name != "params"}, **_like(now, then)}
        for now, then in zip(optimizer.param_groups, saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})


def _like(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """The group's saved values, with a tuple where the optimizer has one."""
    return {
        name: tuple(value) if isinstance(now.get(name), tuple) and isinstance(value, list) else value
        for name, value in then.items()
    }


def random_tree() -> Tree:
    """The state of every random generator that a training draws from."""
    version, numbers, gauss = random.getstate()
    tree: dict[str, Tree] = {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
        "torch": torch.get_rng_state(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        tree["numpy"] = [str(kind), torch.from_numpy(keys.astype("int64")), *plain(rest)]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tree["cuda"] = torch.cuda.get_rng_state_all()
    return tree


def put_back_random(tree: Tree) -> None:
    """Go on drawing where the state was taken."""
    version, numbers, gauss = tree["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    torch.set_rng_state(tree["torch"])
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in tree:
        kind, keys, *rest = tree["numpy"]
        numpy.random.set_state((kind, keys.numpy().astype("uint32"), *rest))
    if "cuda" in tree and torch.cuda.is_available() and len(tree["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(tree["cuda"])
