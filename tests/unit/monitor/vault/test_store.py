"""The vault takes copies out of the spool once, keeps what is named, and refuses what could lead it elsewhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.copies import Vault, VaultError
from tests.unit.monitor.vault.conftest import sha256
from trainer_hooks.wire import document_io
from trainer_hooks.wire.run_documents import Manifest
from trainer_hooks.wire.runfolder import RunFolder

Spool = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create()
    return made


@pytest.fixture
def spool(folder: RunFolder) -> Spool:
    """Puts a file and its manifest into the spool, as the hook does, and returns the manifest's name."""

    def put(source: Path, serial: int = 1, **changes: Any) -> str:
        name = f"g1-r0-{serial}"
        shutil.copy(source, folder.spool / f"{name}.pt")
        known: dict[str, Any] = {
            "run": "r", "generation": 1, "rank": 0, "ordinal": 1, "serial": serial, "file": f"{name}.pt",
            "source": "/weights/last.pt", "digest": sha256(source), "size": source.stat().st_size, "epoch": 2,
            "batches": 4, "nonfinite_batches": 0, "is_best": False, "saved_s": float(serial),
        }  # fmt: skip
        document_io.write(folder.spool / f"{name}.json", Manifest(**(known | changes)))
        return f"{name}.json"

    return put


@pytest.fixture
def small(tmp_path: Path) -> Callable[[int], Path]:
    """Sound files that differ by their number."""

    def write(number: int) -> Path:
        torch.save({"w": torch.full((2, 2), float(number))}, tmp_path / f"small-{number}.pt")
        return tmp_path / f"small-{number}.pt"

    return write


def test_a_stripped_copy_is_nothing_to_go_back_to(folder: RunFolder, spool: Spool, weights: Path) -> None:
    """Sound for whoever only wants the weights; a rollback needs the optimizer's state."""
    last = weights / "last.pt"
    result = Vault(folder).examine(spool(last), sha256(last), "r")
    assert result.verdict is Verdict.UNVERIFIED
    assert "not resumable: the optimizer was stripped" in result.reasons


def test_a_real_copy_is_adopted_and_found_sound(folder: RunFolder, spool: Spool, saved: Path) -> None:
    vault = Vault(folder)
    name = spool(saved)
    assert vault.waiting() == [name]
    result = vault.examine(name, sha256(saved), "r")
    assert result.verdict is Verdict.SOUND
    assert "the bytes are those of the save" in result.reasons[0]
    path = Path(result.path)
    assert path.parent == folder.vault
    assert path.name.startswith(f"{sha256(saved)[:16]}-e2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (result.manifest.epoch, result.manifest.file) == (2, path.name)
    assert (vault.waiting(), list(folder.spool.iterdir())) == ([], [])
    assert vault.adopted() == [(result.manifest, path)]


class KeptByTheScript:
    """A user's own class, an object of which is pickled into every checkpoint."""


def test_a_copy_that_holds_the_scripts_own_classes_is_sound_and_names_them(
    folder: RunFolder, spool: Spool, tmp_path: Path
) -> None:
    """A hook saw this training save it: else a script that patches its model would have nothing to go back to."""
    torch.save({"model": {"w": torch.ones(2, 2)}, "patch": KeptByTheScript()}, tmp_path / "own.pt")
    name = spool(tmp_path / "own.pt")
    result = Vault(folder).examine(name, sha256(tmp_path / "own.pt"), "r")
    assert result.verdict is Verdict.SOUND
    assert "KeptByTheScript" in result.reasons[-1]


def test_a_copy_that_would_run_a_function_is_unverified(folder: RunFolder, spool: Spool, tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2, 2)}, "patch": os.getcwd}, tmp_path / "own.pt")
    result = Vault(folder).examine(spool(tmp_path / "own.pt"), sha256(tmp_path / "own.pt"), "r")
    assert result.verdict is Verdict.UNVERIFIED
    assert "posix.getcwd" in result.reasons[0]


def test_adopting_again_returns_the_same_copy(folder: RunFolder, spool: Spool, small: Callable[[int], Path]) -> None:
    name = spool(small(1))
    first = Vault(folder).adopt(name)
    assert Vault(folder).adopt(name) == first
    assert Vault(folder).examine(name, sha256(small(1)), "r").verdict is Verdict.SOUND


def test_a_run_folder_that_only_its_hook_made_gets_its_vault(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    folder.vault.rmdir()
    _, path = Vault(folder).adopt(spool(small(1)))
    assert path.is_file()
    assert stat.S_IMODE(folder.vault.stat().st_mode) == 0o700


def test_many_that_adopt_one_copy_at_once_all_get_it(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    for serial in range(20):
        name = spool(small(1), serial=serial)
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda _, name=name: Vault(folder).adopt(name), range(4)))
        assert results == [results[0]] * 4


def test_a_crash_between_the_move_and_the_manifest_is_finished_by_adopting_again(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1))
    before = (folder.spool / name).read_bytes()
    manifest, path = Vault(folder).adopt(name)
    (folder.vault / name).unlink()
    (folder.spool / name).write_bytes(before)
    assert Vault(folder).waiting() == [name]
    assert Vault(folder).adopt(name) == (manifest, path)
    assert Vault(folder).waiting() == []


def test_a_crash_after_the_manifest_leaves_nothing_waiting(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1))
    before = (folder.spool / name).read_bytes()
    adopted = Vault(folder).adopt(name)
    (folder.spool / name).write_bytes(before)
    assert Vault(folder).adopt(name) == adopted
    assert not (folder.spool / name).exists()


def test_a_copy_on_another_file_system_is_copied(folder: RunFolder, spool: Spool, small: Callable[[int], Path]) -> None:
    other = Path("/dev/shm") / f"spool-{os.getpid()}"
    if not other.parent.is_dir() or other.parent.stat().st_dev == folder.root.stat().st_dev:
        pytest.skip("no second file system here")
    name = spool(small(1))
    shutil.move(folder.spool, other)
    try:
        folder.spool = other
        manifest, path = Vault(folder).adopt(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.digest
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(other.iterdir()) == []
        assert {entry.name for entry in folder.vault.iterdir()} == {name, path.name}
    finally:
        shutil.rmtree(other)


@pytest.mark.parametrize(
    "name", ["../run.json", "..", ".", "", "a/b.json", "/etc/passwd", ".hidden.json", "x\n.json", "x.txt", "a" * 300]
)
def test_a_name_that_is_no_plain_file_name_is_refused(name: str, folder: RunFolder) -> None:
    document_io.write_bytes(folder.root / "run.json", b"{}")
    with pytest.raises(VaultError, match="not a plain file name"):
        Vault(folder).adopt(name)
    result = Vault(folder).examine(name, "0" * 64, "r")
    assert (result.verdict, result.path, result.manifest.digest) == (Verdict.UNVERIFIED, "", "0" * 64)


@pytest.mark.parametrize("file", ["../secret.pt", "/etc/passwd", "", "a/b.pt", "..", "x\x00.pt"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(
    file: str, folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    secret = folder.root / "secret.pt"
    shutil.copy(small(1), secret)
    name = spool(small(1), file=file)
    with pytest.raises(VaultError, match="refused"):
        Vault(folder).adopt(name)
    assert secret.exists()


@pytest.mark.parametrize("part", ["copy", "manifest"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_link_in_the_spool_is_refused(
    part: str, link: str, folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1))
    path = folder.spool / (name if part == "manifest" else name.replace(".json", ".pt"))
    elsewhere = folder.root / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere) if link == "symbolic" else path.hardlink_to(elsewhere)
    result = Vault(folder).examine(name, sha256(small(1)), "r")
    assert (result.verdict, result.path) == (Verdict.UNVERIFIED, "")
    assert "refused" in result.reasons[0]
    assert list(folder.vault.iterdir()) == []


@pytest.mark.parametrize("damage", ["no copy", "no manifest", "torn manifest", "digest no digest", "other size"])
def test_a_spool_entry_that_is_not_whole_is_unverified(
    damage: str, folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1), digest="../../x" if damage == "digest no digest" else sha256(small(1)))
    copy = folder.spool / name.replace(".json", ".pt")
    if damage == "no copy":
        copy.unlink()
    elif damage == "no manifest":
        (folder.spool / name).unlink()
    elif damage == "torn manifest":
        (folder.spool / name).write_bytes((folder.spool / name).read_bytes()[:40])
    elif damage == "other size":
        copy.write_bytes(copy.read_bytes()[:-1])
    result = Vault(folder).examine(name, sha256(small(1)), "r")
    assert (result.verdict, result.path) == (Verdict.UNVERIFIED, "")
    assert len(result.reasons) == 1


def test_bytes_that_changed_in_the_spool_are_unverified(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1))
    copy = folder.spool / name.replace(".json", ".pt")
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    result = Vault(folder).examine(name, sha256(small(1)), "r")
    assert result.verdict is Verdict.UNVERIFIED
    assert "the bytes differ" in result.reasons[0]


def test_a_manifest_of_another_run_or_digest_is_unverified(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1))
    assert Vault(folder).examine(name, sha256(small(1)), "other").verdict is Verdict.UNVERIFIED
    assert Vault(folder).examine(name, sha256(small(2)), "r").verdict is Verdict.UNVERIFIED
    assert Vault(folder).examine(name, sha256(small(1)), "r").verdict is Verdict.SOUND


def test_a_file_of_another_epoch_than_its_manifest_says_is_unverified(
    folder: RunFolder, spool: Spool, saved: Path
) -> None:
    result = Vault(folder).examine(spool(saved, epoch=3), sha256(saved), "r")
    assert result.verdict is Verdict.UNVERIFIED
    assert result.reasons == ("the file holds epoch 2, its manifest says 3",)


def test_keeping_removes_what_is_not_named(folder: RunFolder, spool: Spool, small: Callable[[int], Path]) -> None:
    vault = Vault(folder)
    paths = {number: vault.adopt(spool(small(number), serial=number))[1] for number in (1, 2, 3)}
    assert vault.keep({sha256(small(2)), "f" * 64}) == [paths[1], paths[3]]
    assert [path for _, path in vault.adopted()] == [paths[2]]
    assert len(list(folder.vault.iterdir())) == 2


def test_keeping_never_removes_the_last_copy(folder: RunFolder, spool: Spool, small: Callable[[int], Path]) -> None:
    vault = Vault(folder)
    assert vault.keep(()) == []
    for number in (2, 3, 1):
        vault.adopt(spool(small(number), serial=number))
    vault.keep(())
    vault.keep(())
    assert [manifest.serial for manifest, _ in vault.adopted()] == [3]


def test_a_vault_manifest_without_its_copy_counts_for_nothing(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    """A crash in the middle of keep() leaves one: it must not pass for the last copy."""
    vault = Vault(folder)
    first, second = (vault.adopt(spool(small(number), serial=number))[1] for number in (1, 2))
    second.unlink()
    assert [path for _, path in vault.adopted()] == [first]
    assert vault.keep(()) == []
    assert first.exists()


def test_waiting_lists_the_oldest_first_and_only_manifests(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    names = [spool(small(number), serial=number) for number in (2, 1)]
    os.utime(folder.spool / names[0], (1, 1))
    (folder.spool / "events-1-0.bin").write_bytes(b"x")
    (folder.spool / ".g1-r0-9.json.tmp").write_bytes(b"x")
    assert Vault(folder).waiting() == names


def test_a_vault_of_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    vault = Vault(RunFolder(tmp_path / "nowhere"))
    assert (vault.waiting(), vault.adopted(), vault.keep(())) == ([], [], [])


def test_the_adopted_manifest_reads_back_as_it_was(
    folder: RunFolder, spool: Spool, small: Callable[[int], Path]
) -> None:
    name = spool(small(1), state_finding="nothing", fitness=0.5)
    manifest, path = Vault(folder).adopt(name)
    assert document_io.read(folder.vault / name, Manifest) == manifest
    assert msgspec.structs.replace(manifest, file="") != manifest
    assert (manifest.file, manifest.fitness, manifest.state_finding) == (path.name, 0.5, "nothing")
