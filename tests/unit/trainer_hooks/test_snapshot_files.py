"""A snapshot: when it is due, that it holds plain values, its file, and that it comes back into the same objects."""

from __future__ import annotations

import errno
import functools
import gc
import math
import random
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.verify import examine
from tests.harness.records import identity
from trainer_hooks.snapshots import (
    HostCopy,
    SnapshotClock,
    file,
    model_tensors,
    optimizer_tree,
    plain,
    put_back_model,
    put_back_optimizer,
    put_back_random,
    random_tree,
    seconds_between,
)
from trainer_hooks.snapshots.due import SHARE_MAX, has_room
from trainer_hooks.snapshots.objects import StateMismatchError, check_model, check_optimizer
from trainer_hooks.snapshots.tree import NotPlainError, Tree
from trainer_hooks.spool import Save, SnapshotRequest, Spool, request_of
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.messages import CheckpointSaved, Event
from trainer_hooks.wire.run_documents import Manifest
from trainer_hooks.wire.runfolder import ENV_SNAPSHOTS


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()


def whole(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Tree:
    return {"model": model_tensors(model), "optimizer": optimizer_tree(optimizer), "random": random_tree()}


@pytest.mark.parametrize("asked", ["", "none", "-3", "nan", "inf", "0"])
def test_what_is_no_number_of_seconds_takes_no_snapshot(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_SNAPSHOTS, asked)
    assert seconds_between() == 0.0
    assert not SnapshotClock(seconds_between(), 0.0).is_due(1e9)


def test_the_pauses_never_take_more_than_their_share_of_the_time() -> None:
    clock = SnapshotClock(1.0, 0.0)
    assert not clock.is_due(0.9)
    assert clock.is_due(1.0)
    clock.taken(10.0, pause_s=1.0)
    assert not clock.is_due(10.0 + 0.99 / SHARE_MAX)
    assert clock.is_due(10.0 + 1.0 / SHARE_MAX)
    clock.taken(1000.0, pause_s=0.001)
    assert clock.is_due(1001.0)
    clock.failed()
    assert not clock.is_due(1e12)


def test_the_first_ones_come_sooner_each_twice_as_long_after_the_last() -> None:
    clock, due, now = SnapshotClock(600.0, 0.0), [], 0.0
    while now < 3000.0:
        now += 1.0
        if clock.is_due(now):
            due.append(now)
            clock.taken(now, pause_s=0.0)
    assert due == [2, 6, 14, 30, 62, 126, 254, 510, 1022, 1622, 2222, 2822]


def test_a_state_that_does_not_fit_into_host_memory_is_not_copied() -> None:
    assert has_room(1)
    assert not has_room(1 << 60)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_the_state_comes_back_into_the_same_objects_and_goes_on_bit_for_bit(
    tmp_path: Path, kind: type[torch.optim.Optimizer]
) -> None:
    model = network()
    optimizer = kind(model.parameters(), lr=0.01)  # type: ignore[call-arg]
    for _ in range(3):
        step(model, optimizer)
    path, before = tmp_path / "snapshot.pt", {name: id(tensor) for name, tensor in model_tensors(model).items()}
    taken = HostCopy().take(whole(model, optimizer))
    file.write(taken, path, file.size_of(taken))
    step(model, optimizer)
    expected = [tensor.clone() for tensor in model_tensors(model).values()]
    drawn = (torch.rand(1).item(), random.random(), float(np.random.rand()))
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.fill_(float("nan"))
    found = file.read(path)
    put_back_model(model, found["model"])
    put_back_optimizer(optimizer, found["optimizer"])
    put_back_random(found["random"])
    assert {name: id(tensor) for name, tensor in model_tensors(model).items()} == before
    step(model, optimizer)
    assert all(torch.equal(one, two) for one, two in zip(model_tensors(model).values(), expected, strict=True))
    assert (torch.rand(1).item(), random.random(), float(np.random.rand())) == drawn


def test_the_file_is_sound_for_the_vault_and_runs_nothing(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    path = tmp_path / "snapshot.pt"
    taken = HostCopy().take(whole(model, optimizer))
    written = file.write(taken, path, file.size_of(taken))
    found = examine(path, written.digest)
    assert (found.verdict, found.loading, found.own_classes) == (Verdict.SOUND, (), ())
    with torch.no_grad():
        next(model.parameters()).fill_(float("inf"))
    path.unlink()
    written = file.write(HostCopy().take(whole(model, optimizer)), path, 0)
    assert examine(path, written.digest).verdict is Verdict.POISONED


def test_every_plain_value_is_read_back_and_a_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    tree = {
        "numbers": [0.5, -1e300, math.inf, -7, 2**40, True, None, "text"],
        "tensors": [torch.ones(2, 3).to(kind) for kind in kinds],
    }
    path = tmp_path / "snapshot.pt"
    file.write(tree, path, 0)
    found = file.read(path)
    assert found["numbers"] == tree["numbers"]
    assert all(torch.equal(one, two) for one, two in zip(found["tensors"], tree["tensors"], strict=True))
    torch.save({"trainwarden_snapshot": 1, "a": Path("x")}, path)
    with pytest.raises(file.SnapshotFileError, match="is no snapshot"):
        file.read(path)


def test_a_buffer_is_used_again_and_holds_the_newer_state() -> None:
    copy, tensor = HostCopy(), torch.zeros(4)
    first = copy.take({"a": tensor})["a"]
    tensor.fill_(2.0)
    assert first.tolist() == [0.0] * 4
    assert copy.take({"a": tensor})["a"] is first
    assert first.tolist() == [2.0] * 4
    assert copy.take({"a": torch.zeros(5)})["a"].shape == (5,)


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, [lambda: 0], {(1, 2): 3}, np.zeros(3)])
def test_what_can_t_be_kept_is_named(value: object) -> None:
    with pytest.raises(NotPlainError, match=r"state.*can't be kept in a snapshot"):
        plain(value)


def test_numbers_of_numpy_and_tuples_become_plain() -> None:
    found = plain({"a": np.float64(1.5), "b": (np.int64(2), True, None)})
    assert found == {"a": 1.5, "b": [2, True, None]}
    assert type(found["a"]) is float


def test_the_state_of_another_training_changes_nothing() -> None:
    model, other = network(), torch.nn.Linear(3, 3)
    with pytest.raises(StateMismatchError, match=r"model: .* are not as in the snapshot"):
        check_model(model, model_tensors(other), "model")
    there = optimizer_tree(torch.optim.SGD(other.parameters(), lr=0.1))
    with pytest.raises(StateMismatchError, match="the snapshot's"):
        check_optimizer(torch.optim.SGD(model.parameters(), lr=0.1), there)


@pytest.mark.parametrize("content", [b"", b"not a file of torch", b"PK\x03\x04torn"])
def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot.pt"
    path.write_bytes(content)
    with pytest.raises(file.SnapshotFileError, match="is no snapshot"):
        file.read(path)


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="free") as caught:
        file.write({"a": torch.zeros(1)}, tmp_path / "snapshot.pt", 1 << 60)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_snapshots_that_nobody_adopts_do_not_push_checkpoints_out(tmp_path: Path) -> None:
    us = identity(tmp_path)
    spool = Spool(us, lambda _: None)
    source = tmp_path / "last.pt"
    source.write_bytes(b"a checkpoint")
    spool.offer(request_of(source, Save(1, ordinal=1, batches=100, nonfinite_batches=0, is_best=False)))
    assert spool.settle(30.0)
    for extra in range(1, 9):
        save = Save(1, ordinal=1, batches=100 + extra, nonfinite_batches=0, is_best=False, extra_batches=extra)
        write = functools.partial(file.write, {"a": torch.ones(3)}, size=12)
        spool.offer(SnapshotRequest(Path("snapshot.pt"), write, save, time.time()))
        assert spool.settle(30.0)
    left = sorted(read(path, Manifest).extra_batches for path in us.folder.spool.glob("*.json"))
    assert left == [0, 6, 7, 8]
    assert spool.evicted == 5
    spool.finish(5.0)


def test_the_spool_writes_a_snapshot_with_its_manifest_and_lets_go_of_its_memory(tmp_path: Path) -> None:
    told: list[Event] = []
    us = identity(tmp_path)
    spool = Spool(us, told.append)
    save = Save(2, ordinal=1, batches=250, nonfinite_batches=0, is_best=False, extra_batches=50)
    write = functools.partial(file.write, {"a": torch.ones(3)}, size=12)
    request = SnapshotRequest(Path("snapshot.pt"), write, save, time.time())
    held = weakref.ref(request)
    spool.offer(request)
    del request
    assert spool.settle(30.0)
    gc.collect()
    assert held() is None
    (manifest,) = [read(path, Manifest) for path in us.folder.spool.glob("*.json")]
    assert (manifest.epoch, manifest.extra_batches, manifest.batches) == (2, 50, 250)
    assert file.read(us.folder.spool / manifest.file)["a"].tolist() == [1.0] * 3
    assert told == [CheckpointSaved(told[0].wall_s, f"{manifest.file}.json", 2, manifest.digest, extra_batches=50)]
    spool.finish(5.0)
