"""Saved states of our own, within an epoch: when one is due, its copy in host memory, its file, and its way back.

A snapshot is a tree of plain values: tensors, numbers, texts, lists and dicts. Reading its file runs nothing.
"""

from trainer_hooks.snapshots.due import SnapshotClock, seconds_between
from trainer_hooks.snapshots.host_copy import HostCopy
from trainer_hooks.snapshots.objects import (
    model_tensors,
    optimizer_tree,
    put_back_model,
    put_back_optimizer,
    put_back_random,
    random_tree,
)
from trainer_hooks.snapshots.taking import SnapshotTaker
from trainer_hooks.snapshots.tree import Tree, plain

__all__ = [
    "HostCopy",
    "SnapshotClock",
    "SnapshotTaker",
    "Tree",
    "model_tensors",
    "optimizer_tree",
    "plain",
    "put_back_model",
    "put_back_optimizer",
    "put_back_random",
    "random_tree",
    "seconds_between",
]
