"""Files of the kinds that users tried: none is sound, none ends the reader, each is answered in time."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.verify import examine
from tests.harness.torch_names import dtype
from tests.unit.monitor.vault.conftest import examined
from tests.unit.monitor.vault.crafted import (
    archive,
    called,
    good,
    mapping,
    safetensors,
    storage,
    tensor,
    text,
    whole,
    whole_pickle,
)

SEED = 20261127
NUMBERS = {"data/0": struct.pack("<16f", *range(16))}
HONEST = archive(whole_pickle(mapping(model=good())), NUMBERS)
TIME_S = 60.0


def beside(extra: bytes) -> bytes:
    return archive(whole_pickle(mapping(model=good(), x=extra)), NUMBERS)


def pickled(body: bytes) -> bytes:
    return archive(b"\x80\x04" + body + b".", NUMBERS)


def named_zip(**names: str) -> bytes:
    """The honest archive with entries of other names beside it."""
    buffer = io.BytesIO(HONEST)
    with zipfile.ZipFile(buffer, "a") as file:
        for name in names.values():
            file.writestr(name, b"x")
    return buffer.getvalue()


def patched(at: int, data: bytes, whole_file: bytes = HONEST) -> bytes:
    return whole_file[:at] + data + whole_file[at + len(data) :]


def rebuilt(name: str, *arguments: bytes) -> bytes:
    return called("torch._utils", name, *arguments)


END = HONEST.rindex(b"PK\x05\x06")
CENTRAL = HONEST.index(b"PK\x01\x02")
ARCHIVES: dict[str, bytes] = {
    "cut before its directory": HONEST[: CENTRAL + 10],
    "cut within its end": HONEST[: END + 10],
    "only its directory": HONEST[CENTRAL:],
    "a count of entries that lies": patched(END + 10, struct.pack("<H", 60_000)),
    "a directory outside of the file": patched(END + 16, struct.pack("<I", 2**31)),
    "an entry outside of the file": patched(CENTRAL + 42, struct.pack("<I", 2**31)),
    "a size that lies": patched(CENTRAL + 20, struct.pack("<II", 2**31, 2**31)),
    "a signature alone": b"PK\x03\x04",
    "an empty archive": b"PK\x05\x06" + bytes(18),
    "a folder that leads out": named_zip(a="../../etc/passwd"),
    "an absolute name": named_zip(a="/etc/passwd"),
    "a name of one part": named_zip(a="data.pkl"),
    "a second folder": named_zip(a="y/data.pkl"),
    "a second pickle in capitals": named_zip(a="x/Data.PKL"),
    "two archives in one": HONEST + archive(whole_pickle(mapping(model=good())), {"data/0": bytes(3)}),
    "another order of bytes": archive(whole_pickle(mapping(model=good())), {**NUMBERS, "byteorder": b"big"}),
    "an order of bytes that nobody knows": archive(whole_pickle(mapping(model=good())), {**NUMBERS, "byteorder": b"?"}),
    "compressed": archive(whole_pickle(mapping(model=good())), NUMBERS, zipfile.ZIP_DEFLATED),
    "ten thousand empty entries": archive(whole_pickle(mapping(x=b"N")), {f"data/{n}": b"" for n in range(10_000)}),
}

TENSORS: dict[str, bytes] = {
    "a storage key that leads out": tensor("../data.pkl", 16, 0, (4, 4), (4, 1)),
    "a storage key that is a number": tensor("0", 16, 0, (4, 4), (4, 1)).replace(text("0"), b"K\x00"),
    "a storage of negative size": tensor("0", -16, 0, (4, 4), (4, 1)),
    "a storage of half a number": tensor("0", 16, 0, (4, 4), (4, 1)).replace(b"FloatStorage", b"DoubleStorage"),
    "more strides than sizes": tensor("0", 16, 0, (4, 4), (4, 1, 1)),
    "a negative stride": tensor("0", 16, 4, (4, 4), (-4, 1)),
    "a negative size": tensor("0", 16, 0, (-4, 4), (4, 1)),
    "an offset beyond the storage": tensor("0", 16, 2**40, (4, 4), (4, 1)),
    "an offset beyond all numbers": tensor("0", 16, 2**70, (1,), (1,)),
    "sizes that overflow": tensor("0", 16, 0, (2**61, 2**61), (1, 1)),
    "strides that overlap": tensor("0", 16, 0, (9, 8), (1, 1)),
    "a hundred dimensions": tensor("0", 16, 0, (1,) * 100, (1,) * 100),
    "sizes that are text": rebuilt("_rebuild_tensor_v2", storage("0", 16), whole(0), text("ab"), text("ab")),
    "no arguments": called("torch._utils", "_rebuild_tensor_v2"),
    "a storage that is text": rebuilt("_rebuild_tensor_v2", text("0"), whole(0), b")", b")", b"\x89", b"N"),
    "a storage of another length": called(
        "torch._utils", "_rebuild_tensor_v2", b"(" + text("storage") + text("0") + b"tQ", whole(0), b")", b")"
    ),
    "a parameter of a parameter": called(
        "torch._utils", "_rebuild_parameter", rebuilt("_rebuild_parameter", good(), b"\x88", b"N"), b"\x88"
    ),
    "a parameter of nothing": called("torch._utils", "_rebuild_parameter", b"N", b"\x88", b"N"),
    "an unknown kind": called("torch._utils", "_rebuild_something_new", good()),
    "a format that is a function": rebuilt(
        "_rebuild_tensor_v3", storage("0", 16), whole(0), b"(" + whole(16) + b"t", b"(" + whole(1) + b"t",
        b"\x89", b"N", b"cos\nsystem\n",
    ),
    "quantized numbers": storage("0", 16, "QUInt8Storage"),
    "a bare storage": storage("0", 16),
    "an array without bytes": called("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b")", text("b")),
    "an array of another size": called(
        "numpy.core.multiarray", "scalar", called("numpy", "dtype", text("f8")), b"C\x03abc"
    ),
    "an array of an unknown format": called(
        "numpy.core.multiarray", "scalar", called("numpy", "dtype", text("f7")), b"C\x08abcdefgh"
    ),
    "an array of a format of many letters": called(
        "numpy.core.multiarray", "scalar", called("numpy", "dtype", text("f4," * 9999)), b"C\x08abcdefgh"
    ),
    "an array whose format is no dtype": called("numpy.core.multiarray", "scalar", text("f8"), b"C\x08abcdefgh"),
    "an array whose shape is huge": called(
        "numpy.core.numeric", "_frombuffer", b"C\x08abcdefgh", called("numpy", "dtype", text("f8")),
        b"(" + whole(2**60) * 60 + b"t", text("C"),
    ),
    "an array whose shape is nested": called(
        "numpy.core.numeric", "_frombuffer", b"C\x08abcdefgh", called("numpy", "dtype", text("f8")), b"(" + b")t"
    ),
}  # fmt: skip


def pairs(levels: int) -> bytes:
    return b"N" + b"}\x86" * levels


PICKLES: dict[str, bytes] = {
    "states within states": pickled(mapping(model=called("argparse", "Namespace") + pairs(100_000) + b"b")),
    "a list that holds itself": pickled(b"]q\x00h\x00a"),
    "tuples within tuples": pickled(b"N" + b"\x85" * 1_000_000),
    "calls within calls": pickled(b"ccollections\ndeque\nq\x01" + b"N\x85R" + b"q\x020h\x01h\x02\x85R" * 100_000),
    "a number of a megabyte": pickled(b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000),
    "a number of negative length": pickled(b"\x8b" + struct.pack("<i", -5)),
    "bytes longer than the file": pickled(b"\x8e" + struct.pack("<Q", 2**60) + b"x"),
    "a bytearray longer than the file": pickled(b"\x96" + struct.pack("<Q", 2**60) + b"x"),
    "text longer than the file": pickled(b"\x8d" + struct.pack("<Q", 2**63) + b"x"),
    "a frame that lies": pickled(b"\x95" + struct.pack("<Q", 2**60) + b"N"),
    "a buffer outside of the pickle": pickled(b"\x97"),
    "a buffer outside of the pickle, to be read only": pickled(b"\x97\x98"),
    "an unknown protocol": archive(b"\x80\xff" + mapping(x=b"N") + b"."),
    "an unknown opcode": pickled(b"\xff"),
    "a memo that was never filled": pickled(b"h\x07"),
    "a negative memo": pickled(b"Np-5\n"),
    "a persistent id as text": pickled(b"Pabc\n"),
    "a persistent id that is a list": pickled(b"]Q"),
    "a name without a module": pickled(b"c\n\n"),
    "a name that is no text": pickled(b"NN\x93"),
    "a name with a line in it": pickled(text("os\nx") + text("system\nx") + b"\x93"),
    "a name of a megabyte": pickled(text("a" * 1_000_000) + text("b") + b"\x93"),
    "a float that is text": pickled(b"Fnan\n"),
    "a whole number that is text": pickled(b"I1_000x\n"),
    "text with a bad escape": pickled(b"S'\\x'\n"),
    "text that is not closed": pickled(b"S'abc\n"),
    "text that is not UTF-8": pickled(b"X\x02\x00\x00\x00\xff\xfe"),
    "a million marks": pickled(b"(" * 1_000_000),
    "a million copies": pickled(b"]" + b"2" * 1_000_000 + b"0" * 1_000_000),
    "keys of a million characters": pickled(
        mapping(
            model=b"}(" + text("k" * 1_000_000) + b"}(" + b"".join(text(str(n)) + b"N" for n in range(5000)) + b"uu"
        )
    ),
    "the same list a million times": pickled(b"]q\x00]" + b"(" + b"h\x00" * 1_000_000 + b"e"),
    "items for a list": pickled(b"]NNs"),
    "members for a dict": pickled(b"}Na"),
    "an odd number of items": pickled(b"}(Nu"),
    "a state for a list": pickled(b"]}b"),
    "two states": pickled(called("argparse", "Namespace") + b"}b}b"),
    "a mark in the wrong place": pickled(b"N(t0("),
    "a set of lists": pickled(b"\x8f(]]\x90"),
    "a dict of a dict": pickled(b"(}Nd"),
    "a key that is a deep tuple": pickled(b"}" + b"N" + b"\x85" * 100_000 + b"Ns"),
    "an object as a key": pickled(b"}" + called("builtins", "object") + b"Ns"),
    "nothing": archive(b""),
    "a stop alone": archive(b"."),
    "text": archive(b"hello, world"),
    "another archive": archive(HONEST),
}

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def raw_header(header: bytes, payload: bytes = bytes(4)) -> bytes:
    return struct.pack("<Q", len(header)) + header + payload


SAFETENSORS: dict[str, bytes] = {
    "a NaN": safetensors({"a": ONE}, struct.pack("<f", float("nan"))),
    "a NaN of half precision": safetensors({"a": ONE | {"dtype": "F16", "shape": [2]}}, b"\x00\x7e\x00\x00"),
    "a NaN of a float8": safetensors({"a": ONE | {"dtype": "F8_E4M3", "shape": [4]}}, b"\x00\x7f\x00\x00"),
    "an infinity of a bfloat16": safetensors({"a": ONE | {"dtype": "BF16", "shape": [2]}}, b"\x80\x7f\x00\x00"),
    "a NaN of a complex number": safetensors(
        {"a": ONE | {"dtype": "C64", "data_offsets": [0, 8]}}, struct.pack("<ff", 0, float("nan"))
    ),
    "a header that is a list": raw_header(b"[]"),
    "a header that is no object": raw_header(b'{"a":1}'),
    "a header that is not closed": raw_header(b'{"a":'),
    "a header that is empty": raw_header(b""),
    "a header without tensors": raw_header(b"{}", b""),
    "a header of another encoding": raw_header(b'{"\xff":{}}'),
    "two tensors of one name": raw_header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        struct.pack("<ff", float("nan"), 1.0),
    ),
    "two tensors of one place": safetensors({"a": ONE, "b": ONE}, bytes(4)),
    "a tensor beyond the file": safetensors({"a": ONE | {"shape": [4], "data_offsets": [0, 16]}}, bytes(4)),
    "a tensor before the file": safetensors({"a": ONE | {"data_offsets": [-4, 0]}}, bytes(4)),
    "offsets turned around": safetensors({"a": ONE | {"data_offsets": [4, 0]}}, bytes(4)),
    "a negative shape": safetensors({"a": ONE | {"shape": [-1, -1]}}, bytes(4)),
    "a shape of many dimensions": safetensors({"a": ONE | {"shape": [1] * 65}}, bytes(4)),
    "a shape of a million huge numbers": safetensors({"a": ONE | {"shape": [2**62] * 1_000_000}}, bytes(4)),
    "a shape that is text": safetensors({"a": ONE | {"shape": ["1"]}}, bytes(4)),
    "a shape that is a fraction": safetensors({"a": ONE | {"shape": [1.5]}}, bytes(4)),
    "bytes after the tensors": safetensors({"a": ONE}, bytes(8)),
    "an unknown key": safetensors({"a": ONE | {"code": "x"}}, bytes(4)),
    "only whole numbers": safetensors({"a": ONE | {"dtype": "I32"}}, bytes(4)),
}

NOT_READ: dict[str, bytes] = {
    "a pointer of git-LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"a" * 64
    + b"\nsize 6534387\n",
    "a pointer of git-annex": b"/annex/objects/SHA256E-s123--abc.pt\n",
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "XML": b"\n <?xml version='1.0'?><Error/>",
    "JSON": b'{"error": "not found", "code": 404}',
    "gzip": gzip.compress(HONEST),
    "a tar archive": bytes(257) + b"ustar\x0000" + bytes(500),
    "a numpy file": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "GGUF": b"GGUF\x03\x00\x00\x00" + bytes(100),
    "zeros": bytes(100_000),
    "one byte": b"\x80",
    "eight bytes": b"PK\x03\x04\x00\x00\x00\x00",
    "nothing": b"",
    "a bare pickle": pickle.dumps({"w": [1.0]}),
    "noise": random.Random(SEED).randbytes(100_000),
    "text": b"loss 0.5\nloss 0.4\n",
}

ALL: dict[str, bytes] = {
    f"{kind}: {name}": data
    for kind, files in {
        "archive": ARCHIVES,
        "tensor": {name: beside(body) for name, body in TENSORS.items()},
        "pickle": PICKLES,
        "safetensors": SAFETENSORS,
        "not read": NOT_READ,
    }.items()
    for name, data in files.items()
}


def test_the_honest_file_of_which_the_others_are_made_is_sound(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(HONEST)
    assert examined(tmp_path / "x.pt").verdict is Verdict.SOUND


@pytest.mark.parametrize("case", ALL)
def test_a_file_of_the_corpus_is_answered_and_never_sound(case: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(ALL[case])
    in_a_child = case.startswith("pickle")  # where the limits of its process may matter
    found = examine(tmp_path / "x.pt", None, timeout_s=TIME_S) if in_a_child else examined(tmp_path / "x.pt")
    assert found.verdict is not Verdict.SOUND, found
    assert not any(word in found.reasons[0] for word in ("died", "not done", "Traceback")), found
    assert found.seconds < TIME_S
    assert all(reason.isprintable() and len(reason) <= 400 for reason in found.reasons)


FORMATS = ["float64", "float32", "float16", "bfloat16", "complex64", "float8_e5m2", "float8_e4m3fn"]
PLACES: dict[str, Callable[[torch.Tensor], object]] = {
    "in a list": lambda bad: {"model": [{"w": bad}]},
    "deep in lists": lambda bad: {"model": [[[[(bad,)]]]]},
    "as it is": lambda bad: bad,
    "in a view": lambda bad: {"model": {"w": bad.reshape(2, 2).t()}},
    "in a parameter": lambda bad: {"model": {"w": torch.nn.Parameter(bad)}},
    "in the optimizer": lambda bad: {"model": {"w": torch.ones(2, 2)}, "optimizer": {"state": {0: {"exp_avg": bad}}}},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_number_that_is_not_finite_is_found_in_every_format_and_place(name: str, place: str, tmp_path: Path) -> None:
    bad = torch.tensor([0.5, torch.nan, 0.25, 1.0]).to(dtype(name))
    torch.save(PLACES[place](bad), tmp_path / "x.pt")
    found = examined(tmp_path / "x.pt")
    assert found.verdict is Verdict.POISONED, found


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning", "ignore:Sparse:UserWarning")
@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.tensor([[0.0, torch.nan], [0.0, 0.0]]).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.empty(2, 2, device="meta"),
        getattr(torch.ones(4), "untyped_storage", torch.ones(4).storage),
    ],
    ids=["sparse", "quantized", "meta", "bare storage"],
)
def test_numbers_that_are_not_read_are_named(made: Callable[[], object], tmp_path: Path) -> None:
    torch.save({"model": {"fine": torch.ones(2, 2), "hidden": made()}}, tmp_path / "x.pt")
    found = examined(tmp_path / "x.pt")
    assert found.verdict is Verdict.UNVERIFIED
    assert any("model.hidden" in reason for reason in found.reasons), found
