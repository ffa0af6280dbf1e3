"""A tree's tensors copied into buffers in host memory that are kept: a fresh copy takes three times as long.

On CUDA the buffers are pinned and the copies run on the present stream, so that the training only waits as long as the
commands take to issue; whoever reads the copy calls `arrived` first.
"""

from __future__ import annotations

from typing import Any

import torch

from trainer_hooks.snapshots.tree import Tree


class HostCopy:
    """One set of buffers. `take` overwrites the tree that it returned before."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}
        self._event: Any = None  # of CUDA; None: nothing is on its way

    def take(self, tree: Tree) -> Tree:
        """The same tree, whose tensors are copies of what they hold now."""
        self._event, away = None, False
        used: set[str] = set()

        def copied(value: Tree, name: str) -> Tree:
            nonlocal away
            if isinstance(value, torch.Tensor):
                used.add(name)
                away = away or value.is_cuda
                return self._buffer(name, value).copy_(value, non_blocking=value.is_cuda)
            if isinstance(value, dict):
                return {key: copied(each, f"{name}/{key}") for key, each in value.items()}
            if isinstance(value, list):
                return [copied(each, f"{name}/{place}") for place, each in enumerate(value)]
            return value

        with torch.no_grad():
            taken = copied(tree, "")
        for name in self._buffers.keys() - used:
            del self._buffers[name]
        if away:
            self._event = torch.cuda.Event()
            self._event.record()
        return taken

    def arrived(self) -> None:
        """Wait until the copy is complete. For another thread than the training's."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None

    def _buffer(self, name: str, like: torch.Tensor) -> torch.Tensor:
        found = self._buffers.get(name)
        if found is None or found.shape != like.shape or found.dtype != like.dtype:
            found = torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=like.is_cuda)
            self._buffers[name] = found
        return found
