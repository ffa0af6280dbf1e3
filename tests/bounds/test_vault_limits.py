"""The limits of the reader of checkpoints that only a hostile file reaches, and those of its process."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from monitor.core.model import Verdict
from monitor.vault import contents, folder, inert, torchzip
from monitor.vault.inert import UnreadableError, read_pickle
from monitor.vault.verify import CPU_S_MAX, FILES_MAX, MEMORY_BYTES_MAX
from tests.bounds.test_vault_bounds import contents_of
from tests.unit.monitor.vault.crafted import archive, mapping, storage, tensor, whole_pickle

LIMITS = """
import json, resource
from pathlib import Path
from monitor.vault.verify import limit_process
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit_process(1000)
kinds = (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
print(json.dumps([pages * resource.getpagesize() + 1000, *(resource.getrlimit(kind)[0] for kind in kinds)]))
"""


def test_a_pickle_has_as_many_opcodes_as_the_limit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real limit is lowered: the same code, without four million opcodes."""
    assert inert.OPCODES_MAX > 1_000_000
    data = pickle.dumps([1, 2, 3], 2)
    count = sum(1 for _ in pickletools.genops(data))
    monkeypatch.setattr(inert, "OPCODES_MAX", count)
    read_pickle(data)
    monkeypatch.setattr(inert, "OPCODES_MAX", count - 1)
    with pytest.raises(UnreadableError, match=f"more than {count - 1} opcodes"):
        read_pickle(data)


def test_an_archive_has_as_many_entries_as_the_limit_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real limit is lowered: the same code, without half a million entries."""
    assert torchzip.ENTRIES_MAX > 100_000
    tensors = {f"w{n}": tensor(str(n), 1, 0, (1,), (1,)) for n in range(3)}
    data = archive(whole_pickle(mapping(**tensors)), {f"data/{n}": bytes(4) for n in range(3)})
    names = len(zipfile.ZipFile(io.BytesIO(data)).namelist())
    monkeypatch.setattr(torchzip, "ENTRIES_MAX", names)
    contents_of(data, tmp_path)
    monkeypatch.setattr(torchzip, "ENTRIES_MAX", names - 1)
    with pytest.raises(UnreadableError, match=f"has {names} entries, expected 1 to {names - 1}"):
        contents_of(data, tmp_path)


@pytest.mark.parametrize(("limit", "refused"), [(3, False), (2, True)])
def test_a_checkpoint_has_as_many_tensors_as_the_limit_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, refused: bool
) -> None:
    """Those that can not be read count as well. The real limit is lowered."""
    assert contents.TENSORS_MAX > 100_000
    monkeypatch.setattr(contents, "TENSORS_MAX", limit)
    data = archive(
        whole_pickle(mapping(a=tensor("0", 1, 0, (1,), (1,)), b=tensor("1", 1, 0, (1,), (1,)), c=storage("2", 1))),
        {"data/0": bytes(4), "data/1": bytes(4)},
    )
    if refused:
        with pytest.raises(UnreadableError, match=f"more than {limit} tensors"):
            contents_of(data, tmp_path)
    else:
        contents_of(data, tmp_path)


def test_the_process_that_reads_a_checkpoint_is_limited_in_time_files_and_memory() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=True)
    own, cpu_s, files, memory = json.loads(done.stdout)
    assert (cpu_s, files) == (CPU_S_MAX, FILES_MAX)
    assert abs(memory - own - MEMORY_BYTES_MAX) < 32 * 1024 * 1024


def test_a_folder_is_examined_up_to_a_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real limit is lowered: the same code, without a thousand files."""
    assert folder.FILES_MAX >= 100
    for number in range(3):
        data = archive(whole_pickle(mapping(a=tensor("0", 1, 0, (1,), (1,)))), {"data/0": bytes(4)})
        (tmp_path / f"{number}.pt").write_bytes(data)
    monkeypatch.setattr(folder, "FILES_MAX", 3)
    assert folder.verdict_of(folder.examine_folder(tmp_path)) is Verdict.SOUND
    monkeypatch.setattr(folder, "FILES_MAX", 2)
    found = folder.examine_folder(tmp_path)
    assert found["1 more file"].reasons == ("only the first 2 files are examined",)
    assert folder.verdict_of(found) is Verdict.UNVERIFIED


@pytest.mark.parametrize(("more", "listed"), [(0, "a.bin"), (1, "what x.index.json lists, which can't be read")])
def test_an_index_over_its_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, listed: str
) -> None:
    """The real limit is lowered."""
    assert folder._INDEX_BYTES_MAX > 1_000_000
    data = b'{"weight_map":{"w":"a.bin"}}'
    monkeypatch.setattr(folder, "_INDEX_BYTES_MAX", len(data) - more)
    (tmp_path / "x.index.json").write_bytes(data)
    (found,) = folder._listed(tmp_path / "x.index.json")
    assert found.startswith(listed)
