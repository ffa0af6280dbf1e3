"""A saved state whose file is torn is never used: whatever a crash left of it, its reader and the vault refuse it.

And the run goes on from the state below it, which is whole.
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.core.model import Verdict
from monitor.vault.copies import Vault
from monitor.vault.verify import examine_file
from tests.harness.killed import killed_at
from tests.harness.records import identity
from trainer_hooks.identity import Identity
from trainer_hooks.snapshots import Tree, model_tensors, optimizer_tree, random_tree
from trainer_hooks.snapshots import file as snapshot_file
from trainer_hooks.snapshots.file import SnapshotFileError
from trainer_hooks.spool import Save, SnapshotRequest, Spool

DRAWS = 200
PAGE = 4096  # bytes that a file system writes at once


class Saved:
    """Two snapshots of one training, the later one and the one below it. No dataclass: hypothesis would print it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        snapshot_file.write(state(model, optimizer), folder / "below.pt", 1)
        self.digest = snapshot_file.write(state(model, optimizer), folder / "newest.pt", 1).digest
        self.content, self.below = (folder / "newest.pt").read_bytes(), (folder / "below.pt").read_bytes()
        self.trees = [snapshot_file.read(folder / name) for name in ("newest.pt", "below.pt")]


def state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Tree:
    model(torch.rand(4, 8)).sum().backward()
    optimizer.step()
    weights = {name: tensor.detach().clone() for name, tensor in model_tensors(model).items()}
    return {"model": weights, "optimizer": optimizer_tree(optimizer), "random": random_tree(), "epoch": 3, "best": 0.5}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    torch.manual_seed(0)
    random.seed(0)
    return Saved(tmp_path_factory.mktemp("torn"))


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, float, float, int]:
    """What happened to the file, and where: places as shares of its length."""
    kind = draw(st.sampled_from(["cut", "never written", "zeros", "flip", "half of the one below", "page"]))
    place = st.floats(0.0, 1.0, exclude_max=True)
    return kind, draw(place), draw(place), draw(st.integers(1, 255))


def torn(content: bytes, below: bytes, damage: tuple[str, float, float, int]) -> bytes:
    kind, one, other, byte = damage
    first, last = sorted((int(one * len(content)), int(other * len(content))))
    if kind == "cut":
        return content[:first]
    if kind == "never written":  # the length is on disk, the data are not
        return content[:first] + bytes(len(content) - first)
    if kind == "zeros":
        return content[:first] + bytes(last - first) + content[last:]
    if kind == "flip":
        return content[:first] + bytes([content[first] ^ byte]) + content[first + 1 :]
    if kind == "page":
        first -= first % PAGE
        return content[:first] + below[first : first + PAGE] + content[first + PAGE :]
    return content[:first] + below[first:]


@settings(max_examples=DRAWS, deadline=None)
@given(damage=damages())
@example(damage=("cut", 0.0, 0.0, 1))
@example(damage=("never written", 0.0, 0.0, 1))
@example(damage=("half of the one below", 0.5, 0.0, 1))
def test_no_torn_snapshot_is_used(saved: Saved, damage: tuple[str, float, float, int]) -> None:
    path, content = saved.folder / "torn.pt", torn(saved.content, saved.below, damage)
    path.write_bytes(content)
    with path.open("rb") as file:
        verdict = examine_file(file, saved.digest, seen_saved=True).verdict
    if content == saved.content:  # the damage hit bytes that were like it
        assert verdict is Verdict.SOUND
        return
    assert verdict is Verdict.UNVERIFIED
    with pytest.raises(SnapshotFileError, match=f"the plan says {saved.digest}"):
        snapshot_file.read_verified(path, saved.digest)


@settings(max_examples=DRAWS, deadline=None)
@given(damage=damages())
def test_a_torn_file_that_nobody_digested_is_sound_only_where_its_numbers_are_whole(
    saved: Saved, damage: tuple[str, float, float, int]
) -> None:
    """Of a file that was put there by hand: the format's own checksums tell."""
    path = saved.folder / "foreign.pt"
    path.write_bytes(torn(saved.content, saved.below, damage))
    with path.open("rb") as file:
        found = examine_file(file, None)
    if found.verdict is Verdict.SOUND:
        with contextlib.suppress(SnapshotFileError):  # torch reads less than zipfile where the archive's end is damaged
            here = snapshot_file.read(path)
            assert any(is_same(there, here) for there in saved.trees), "its numbers are those of no state"


@pytest.mark.parametrize(("byte", "bit"), [(38, 0x10), (34, 1)], ids=["a folder", "of another volume"])
def test_an_entry_whose_header_says_that_it_is_no_file_is_not_sound(saved: Saved, byte: int, bit: int) -> None:
    """Torch reads such a folder as an entry without bytes, and gives back whatever lay in memory."""
    path, places = saved.folder / "headers.pt", [m.start() for m in re.finditer(rb"PK\x01\x02", saved.content)]
    assert len(places) > len(saved.trees[0])
    for place in places:
        content = bytearray(saved.content)
        content[place + byte] ^= bit
        path.write_bytes(content)
        with path.open("rb") as file:
            assert examine_file(file, None).verdict is Verdict.UNVERIFIED


def test_a_process_killed_at_any_file_operation_leaves_whole_states_alone(saved: Saved, tmp_path: Path) -> None:
    """Three snapshots are written and the first is adopted; none that has a manifest is torn, and none is lost."""
    number, most = 0, 0
    while True:
        number += 1
        us = identity(tmp_path / f"home-{number}")
        us.folder.create()
        killed = killed_at(number, functools.partial(write_and_adopt, us, saved.trees))
        vault = Vault(us.folder)
        for name in vault.waiting():  # as the next daemon does
            vault.adopt(name)
        found = {manifest.extra_batches: (manifest, path) for manifest, path in vault.adopted()}
        for batches, (manifest, path) in found.items():
            assert is_same(snapshot_file.read_verified(path, manifest.digest), saved.trees[batches % 2]), path
        assert len(found) >= most, "a state that was whole is gone"
        most = len(found)
        if not killed:
            break
    assert most == 3
    assert number > 20, "it was killed at fewer places than there are"


def write_and_adopt(us: Identity, trees: list[Tree]) -> None:
    spool = Spool(us, lambda event: None)
    for batches in (2, 3, 4):
        save = Save(1, ordinal=1, batches=batches, nonfinite_batches=0, is_best=False, extra_batches=batches)
        write = functools.partial(snapshot_file.write, trees[batches % 2], size=1)
        spool.offer(SnapshotRequest(Path("snapshot.pt"), write, save, float(batches)))
        assert spool.settle(30.0)
        if batches == 2:
            Vault(us.folder).adopt(Vault(us.folder).waiting()[0])


def is_same(there: Tree, here: Tree) -> bool:
    if isinstance(there, torch.Tensor):
        return isinstance(here, torch.Tensor) and torch.equal(there, here)
    if isinstance(there, dict):
        return isinstance(here, dict) and there.keys() == here.keys() and all(is_same(there[k], here[k]) for k in there)
    if isinstance(there, list):
        return isinstance(here, list) and len(there) == len(here) and all(map(is_same, there, here))
    return bool(there == here)
