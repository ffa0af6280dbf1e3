"""The limits of what is read out of a checkpoint: a file that is over one is unverified, and says which."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from monitor.vault.contents import _REASONS_MAX, read_contents
from monitor.vault.copies import _MANIFEST_BYTES_MAX, VaultError, _read_manifest
from monitor.vault.inert import PICKLE_BYTES_MAX, UnreadableError, read_pickle
from monitor.vault.leaves import DEPTH_MAX
from monitor.vault.safetensors import HEADER_BYTES_MAX, read_safetensors
from monitor.vault.tensors import DIMENSIONS_MAX
from tests.unit.monitor.vault.crafted import archive, mapping, storage, tensor, whole_pickle


def contents_of(data: bytes, folder: Path) -> object:
    (folder / "x.pt").write_bytes(data)
    with (folder / "x.pt").open("rb") as file:
        return read_contents(file)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_pickle_that_nests_deeper_than_any_model_is_refused(tmp_path: Path) -> None:
    contents_of(archive(pickle.dumps(nested(DEPTH_MAX), 2)), tmp_path)
    with pytest.raises(UnreadableError, match=f"deeper than {DEPTH_MAX} levels"):
        contents_of(archive(pickle.dumps(nested(DEPTH_MAX + 2), 2)), tmp_path)


def test_a_pickle_over_its_size_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(UnreadableError, match=f"the limit is {PICKLE_BYTES_MAX}"):
        read_pickle(bytes(PICKLE_BYTES_MAX + 1))
    with pytest.raises(UnreadableError, match="damaged"):
        read_pickle(bytes(PICKLE_BYTES_MAX))


def test_tensors_that_can_not_be_read_are_told_up_to_a_limit_and_counted_beyond(tmp_path: Path) -> None:
    more = 5
    bad = {f"k{n:02}": storage(str(n), 1) for n in range(_REASONS_MAX + more)}
    contents = contents_of(archive(whole_pickle(mapping(**bad))), tmp_path)
    reasons = contents.unreadable  # type: ignore[attr-defined]
    assert len(reasons) == _REASONS_MAX + 1
    assert reasons[-1] == f"and {more} more tensors that could not be read"


@pytest.mark.parametrize(("dimensions", "read"), [(DIMENSIONS_MAX, True), (DIMENSIONS_MAX + 1, False)])
def test_a_tensor_has_as_many_dimensions_as_torch_allows(tmp_path: Path, dimensions: int, read: bool) -> None:
    ones = (1,) * dimensions
    data = archive(whole_pickle(mapping(w=tensor("0", 1, 0, ones, ones))), {"data/0": bytes(4)})
    contents = contents_of(data, tmp_path)
    assert bool(contents.tensors) is read  # type: ignore[attr-defined]
    assert bool(contents.unreadable) is not read  # type: ignore[attr-defined]


def test_a_safetensors_header_over_its_size_is_refused_whatever_follows() -> None:
    declared = (HEADER_BYTES_MAX + 1).to_bytes(8, "little")
    with pytest.raises(UnreadableError, match=f"declares {HEADER_BYTES_MAX + 1} bytes"):
        read_safetensors(memoryview(declared + b"{}"))


def test_a_manifest_over_its_size_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(b" " * (_MANIFEST_BYTES_MAX + 1))
    with pytest.raises(VaultError, match=f"over {_MANIFEST_BYTES_MAX} bytes"):
        _read_manifest(path)
    path.write_bytes(b" " * _MANIFEST_BYTES_MAX)
    with pytest.raises(VaultError, match="no manifest"):
        _read_manifest(path)
