"""Files made to run code, to lie or to exhaust: none executes, all end as UNVERIFIED, and the caller lives on."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import _trainwarden
from monitor.core.model import Verdict
from monitor.vault.contents import read_contents
from monitor.vault.inert import UnreadableError
from monitor.vault.problems import judge
from monitor.vault.verify import examine, examine_file, run_child
from tests.unit.monitor.vault.conftest import sha256
from tests.unit.monitor.vault.crafted import (
    archive,
    called,
    good,
    mapping,
    safetensors,
    storage,
    tensor,
    text,
    whole_pickle,
)

SEED = 20261118
STORAGE = {"data/0": bytes(range(1, 65))}


def beside_weights(evil: bytes) -> Callable[[str], bytes]:
    """An honest tensor, and beside it the given opcodes."""
    return lambda _: archive(whole_pickle(mapping(model=good(), x=evil)), STORAGE)


def shell(module: str, name: str) -> Callable[[str], bytes]:
    """A call that would touch the canary, beside an honest tensor."""
    return lambda canary: beside_weights(called(module, name, text(f"touch {canary}")))(canary)


def python(module: str, name: str) -> Callable[[str], bytes]:
    return lambda canary: beside_weights(called(module, name, text(f"open({canary!r}, 'w')")))(canary)


class Touch:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def dropped(canary: str) -> bytes:
    """The call's result is popped at once: the tree does not show it."""
    return archive(
        whole_pickle(called("os", "system", text(f"touch {canary}")) + b"0" + mapping(model=good())), STORAGE
    )


def stack_global(canary: str) -> bytes:
    call = (
        b"\x8c\x05posix\x8c\x06system\x93\x8c"
        + bytes([len(f"touch {canary}")])
        + f"touch {canary}".encode()
        + b"\x85R."
    )
    return archive(b"\x80\x04" + call)


def computed(canary: str) -> bytes:
    """getattr(os, "system"), called."""
    looked_up = called("builtins", "getattr", b"cos\n__name__\n", text("system"))
    return archive(whole_pickle(mapping(model=good(), x=looked_up + b"(" + text(f"touch {canary}") + b"tR")), STORAGE)


def set_state(canary: str) -> bytes:
    """An object whose __setstate__ was replaced by os.system through its state."""
    made = (
        b"cargparse\nNamespace\n)\x81" + mapping(__setstate__=b"cos\nsystem\n") + b"b" + text(f"touch {canary}") + b"b"
    )
    return archive(whole_pickle(mapping(model=good(), x=made)), STORAGE)


def rebuilt_by(module: str, name: str) -> Callable[[str], bytes]:
    """A tensor subclass whose rebuild function is another one."""
    return lambda canary: beside_weights(
        called(
            "torch._tensor",
            "_rebuild_from_type_v2",
            f"c{module}\n{name}\n".encode(),
            b"N",
            b"(" + text(f"touch {canary}") + b"t",
            b"N",
        )
    )(canary)


def load_from_bytes(canary: str) -> bytes:
    inner = pickle.dumps(Touch(canary), 2)
    blob = b"B" + struct.pack("<I", len(inner)) + inner
    return beside_weights(called("torch.storage", "_load_from_bytes", blob))(canary)


def bomb(_: str) -> bytes:
    return archive(whole_pickle(mapping(model=good())), {"data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)


def doubling(_: str) -> bytes:
    """Lists of the list before, ten times each: 10**30 leaves for who walks them all."""
    body = b"]"
    for _level in range(30):
        body += b"q\x01" + b"](" + b"h\x01" * 10 + b"e"
    return archive(whole_pickle(body))


def encrypted(_: str) -> bytes:
    data = bytearray(archive(whole_pickle(mapping(model=good())), STORAGE))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def twice(_: str) -> bytes:
    data = archive(whole_pickle(mapping(model=good())), {"data/0": bytes(range(1, 65)), "data/1": bytes(64)})
    return data.replace(b"x/data/1", b"x/data/0")


PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "os.system by __reduce__": lambda canary: archive(pickle.dumps(Touch(canary), 2)),
    "os.system, protocol 4": lambda canary: archive(pickle.dumps(Touch(canary), 4)),
    "os.system, protocol 0": lambda canary: archive(pickle.dumps(Touch(canary), 0)),
    "a bare pickle, GLOBAL at position 0": lambda canary: pickle.dumps(Touch(canary), 0),
    "GLOBAL at position 0 of data.pkl": lambda canary: archive(called("os", "system", text(f"touch {canary}")) + b"."),
    "STACK_GLOBAL": stack_global,
    "os.system beside weights": shell("os", "system"),
    "posix.system beside weights": shell("posix", "system"),
    "subprocess.getoutput": shell("subprocess", "getoutput"),
    "builtins.exec": python("builtins", "exec"),
    "builtins.eval, old name": python("__builtin__", "eval"),
    "timeit.timeit": python("timeit", "timeit"),
    "numpy runstring": python("numpy.testing._private.utils", "runstring"),
    "pip.main": shell("pip", "main"),
    "torch.hub.load": shell("torch.hub", "load"),
    "dotted name through torch": shell("torch.nn", "modules.module.os.system"),
    "result dropped": dropped,
    "computed callable": computed,
    "__setstate__ replaced": set_state,
    "rebuild function replaced": rebuilt_by("os", "system"),
    "rebuild of a rebuild": rebuilt_by("torch._tensor", "_rebuild_from_type_v2"),
    "pickle inside the pickle": load_from_bytes,
    "INST opcode": lambda canary: archive(b"(S'touch " + canary.encode() + b"'\nios\nsystem\n."),
    "OBJ opcode": lambda canary: archive(b"(cos\nsystem\n" + text(f"touch {canary}") + b"o."),
    "EXT opcode": lambda _: archive(b"\x80\x02\x82\x01."),
    "nested zip": lambda canary: archive(archive(pickle.dumps(Touch(canary), 2))),
    "zip bomb": bomb,
    "encrypted": encrypted,
    "two entries of one name": twice,
    "entry outside its folder": lambda _: archive(b"N.").replace(b"x/version", b"/version2"),
    "storage larger than declared": lambda _: archive(whole_pickle(mapping(model=good(3))), STORAGE),
    "storage smaller than declared": lambda _: archive(whole_pickle(mapping(model=good(400))), STORAGE),
    "storage missing": lambda _: archive(whole_pickle(mapping(model=good()))),
    "view beyond its storage": lambda _: archive(
        whole_pickle(mapping(model=tensor("0", 16, 1, (4, 4), (4, 1)))), STORAGE
    ),
    "enormous view": lambda _: archive(
        whole_pickle(mapping(model=tensor("0", 16, 0, (2**40, 2**20), (1, 1)))), STORAGE
    ),
    "negative offset": lambda _: archive(whole_pickle(mapping(model=tensor("0", 16, -4, (4, 4), (4, 1)))), STORAGE),
    "overlapping view": lambda _: archive(whole_pickle(mapping(model=tensor("0", 16, 0, (8, 8), (1, 1)))), STORAGE),
    "unknown storage": lambda _: archive(whole_pickle(mapping(model=storage("0", 64, "QInt8Storage"))), STORAGE),
    "deep lists": lambda _: archive(whole_pickle(b"]" * 100_000 + b"a" * 99_999)),
    "deep tuples as a key": lambda _: archive(whole_pickle(b"})" + b"\x85" * 500_000 + b"Ns")),
    "doubling lists": doubling,
    "memo bomb": lambda _: archive(whole_pickle(b"Nr\xff\xff\xff\xff")),
    "huge string": lambda _: archive(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"short."),
    "huge number": lambda _: archive(b"I" + b"9" * 1_000_000 + b"\n."),
    "too many opcodes": lambda _: archive(b"N0" * 3_000_000 + b"N."),
    "pickle too long": lambda _: archive(bytes(40_000_000)),
    "stack underflow": lambda _: archive(whole_pickle(b"R")),
    "no STOP": lambda _: archive(b"\x80\x02}"),
    "list as a key": lambda _: archive(whole_pickle(b"}]Ns")),
    "safetensors, header too long": lambda _: struct.pack("<Q", 2**40) + b"{}",
    "safetensors, hole": lambda _: safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "safetensors, wrong size": lambda _: safetensors(
        {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "safetensors, deep header": lambda _: struct.pack("<Q", 20_006) + b'{"a":' + b"[" * 20_000 + b"}",
    "safetensors, unknown format": lambda _: safetensors(
        {"a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
}


def test_the_canary_would_be_touched_by_a_reader_that_executes(tmp_path: Path) -> None:
    """The control: the payload really works, and the two bare ones are the ones given below."""
    pickle.loads(PAYLOADS["a bare pickle, GLOBAL at position 0"](str(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_the_honest_part_of_the_payloads_is_sound(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(
        archive(whole_pickle(mapping(model=good())), {"data/0": struct.pack("<16f", *range(16))})
    )
    assert examine(tmp_path / "x.pt", None).verdict is Verdict.SOUND


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_hostile_file_is_unverified_and_executes_nothing(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "hostile.pt"
    path.write_bytes(PAYLOADS[name](str(canary)))
    found = examine(path, None, timeout_s=60)
    assert not canary.exists()
    assert found.verdict is Verdict.UNVERIFIED, found
    assert "died" not in found.reasons[0], found
    assert all("\n" not in reason and len(reason) <= 400 for reason in found.reasons)


def test_hostile_names_are_shown_without_control_characters(tmp_path: Path) -> None:
    name = "a\n\x1b[31mclean\u202e"
    lie = tensor("0", 99, 0, (2, 2), (2, 1))
    (tmp_path / "x.pt").write_bytes(archive(whole_pickle(b"}" + text(name) + lie + b"s"), STORAGE))
    (first, *_) = examine(tmp_path / "x.pt", None).reasons
    assert first.isprintable()
    assert first.isascii()


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "device"])
def test_what_is_no_regular_file_is_unverified_and_blocks_nobody(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    found = examine(Path("/dev/zero") if kind == "device" else path, None, timeout_s=30)
    assert found.verdict is Verdict.UNVERIFIED
    assert "regular file" in found.reasons[0] or "can't be read" in found.reasons[0]


def test_an_examination_over_its_time_is_ended(saved: Path) -> None:
    found = examine(saved, None, timeout_s=0.02)
    assert found.verdict is Verdict.UNVERIFIED
    assert "not done after 0.02 s" in found.reasons[0]


LIMITED = "from monitor.vault.verify import limit_process; limit_process(0, cpu_s=1); "


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[0 for _ in iter(int, 1)]", "signal 9"),
        ("bytearray(4 * 1024**3)", "MemoryError"),
        ("import os; os.write(os.open({path!r}, os.O_CREAT | os.O_WRONLY), b'x')", "File too large"),
        ("print('babble')", "gave no result"),
    ],
)
def test_a_child_is_ended_by_its_own_limits_and_the_caller_is_answered(
    body: str, expected: str, tmp_path: Path
) -> None:
    """The real limits around bodies that do what no checkpoint should bring the reader to."""
    body = body.format(path=str(tmp_path / "grown"))
    found = run_child([sys.executable, "-c", LIMITED + body], timeout_s=60)
    assert found.verdict is Verdict.UNVERIFIED
    assert expected in found.reasons[0]


def test_limits_bind_the_child_only(saved: Path) -> None:
    before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)]
    assert examine(saved, None).verdict is Verdict.SOUND
    assert before == [
        resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)
    ]


def test_the_child_imports_neither_torch_nor_the_users_modules(saved: Path, tmp_path: Path) -> None:
    """In a folder with a monitor.py, and with PYTHONPATH naming it, the child still runs ours."""
    for name in ("monitor", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)\n")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *_trainwarden.child_command("monitor.vault.verify", str(saved))[1:]],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"sound"' in done.stdout
    assert "| torch" not in done.stderr
    assert not (tmp_path / "ran").exists()


def mutate(data: bytes, random_: random.Random) -> bytes:
    """A flipped bit, a cut, a hole of zeros or of noise, or two blocks swapped."""
    kind, where = random_.randrange(5), random_.randrange(len(data))
    length = random_.randrange(1, 65536)
    if kind == 0:
        return data[:where] + bytes([data[where] ^ (1 << random_.randrange(8))]) + data[where + 1 :]
    if kind == 1:
        return data[:where]
    if kind == 2:
        return data[:where] + bytes(len(data[where : where + length])) + data[where + length :]
    if kind == 3:
        return data[:where] + random_.randbytes(len(data[where : where + length])) + data[where + length :]
    return data[where : where + length] + data[length:where] + data[:length] + data[where + length :]


def test_two_thousand_mutations_are_all_caught_by_the_digest(saved: Path) -> None:
    data, digest = saved.read_bytes(), sha256(saved)
    print(f"seed {SEED}")
    seeded = random.Random(SEED)
    caught = applied = 0
    while applied < 2000:
        mutant = mutate(data, seeded)
        if mutant != data:
            applied += 1
            found = examine_file(io.BytesIO(mutant), digest)
            caught += found.verdict is Verdict.UNVERIFIED and "bytes differ" in found.reasons[0]
    assert caught == 2000


def test_a_mutation_without_a_digest_is_caught_or_changes_no_number(saved: Path, tmp_path: Path) -> None:
    """What the archive's checksums don't cover is padding and dates: there a change is harmless."""
    data = saved.read_bytes()
    expected = fingerprint(saved)
    print(f"seed {SEED}")
    seeded = random.Random(SEED)
    caught = 0
    for index in range(100):
        path = tmp_path / f"{index}.pt"
        path.write_bytes(mutate(data, seeded))
        try:
            assert fingerprint(path) == expected
        except UnreadableError:
            caught += 1
        path.unlink()
    assert caught > 90


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_a_damaged_pickle_in_a_whole_archive_is_read_or_refused_and_nothing_else() -> None:
    """The checksum is right, so the reader itself meets every broken opcode, size and name."""
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    buffer = io.BytesIO()
    torch.save({"epoch": 1, "model": layer, "optimizer": torch.optim.Adam(layer.parameters()).state_dict()}, buffer)
    with zipfile.ZipFile(buffer) as file:
        entries = {info.filename.partition("/")[2]: file.read(info) for info in file.infolist()}
    pickled = entries.pop("data.pkl")
    print(f"seed {SEED}")
    seeded = random.Random(SEED)
    outcomes = {verdict_of(archive(mutate_byte(pickled, seeded), entries)) for _ in range(1500)}
    assert outcomes == {"refused", "unreadable parts", "read"}


def mutate_byte(data: bytes, seeded: random.Random) -> bytes:
    """One to four bytes changed, doubled or left out."""
    changed = bytearray(data)
    for _ in range(seeded.randrange(1, 5)):
        where = seeded.randrange(len(changed))
        changed[where : where + 1] = seeded.choice(
            [b"", bytes([seeded.randrange(256)]), changed[where : where + 1] * 2]
        )
    return bytes(changed)


def verdict_of(data: bytes) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        try:
            contents = read_contents(file)
        except UnreadableError:
            return "refused"
        judge(contents)
        return "unreadable parts" if contents.unreadable else "read"


def fingerprint(path: Path) -> int:
    """One number for all names, shapes and bytes of the tensors."""
    with path.open("rb") as file:
        tensors = read_contents(file).tensors
    return hash(tuple((tensor.name, tensor.shape, zlib.crc32(tensor.raw.tobytes())) for tensor in tensors))
