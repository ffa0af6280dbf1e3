"""What loading a checkpoint would run is named, whatever its numbers are. A script's own saves may hold its classes."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monitor.core.model import Verdict
from monitor.vault.verify import _LISTED_MAX, describe
from tests.unit.monitor.vault.conftest import examined
from tests.unit.monitor.vault.crafted import archive, called, good, mapping, text, whole_pickle
from tests.unit.monitor.vault.test_hostile import STORAGE

PUT, GET = b"r\x00\xff\x00\x00", b"j\x00\xff\x00\x00"


def beside(evil: bytes) -> bytes:
    return archive(whole_pickle(evil + b"0" + mapping(model=good())), STORAGE)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


NAMES: dict[str, tuple[bytes, str]] = {
    "commands.getoutput": (called("commands", "getoutput", text("touch x")), "subprocess.getoutput"),
    "cPickle.loads": (called("cPickle", "loads", text("x")), "pickle.loads"),
    "__builtin__.reduce": (called("__builtin__", "reduce", text("x")), "functools.reduce"),
    "itertools.imap": (called("itertools", "imap", text("x")), "builtins.map"),
    "urllib.urlopen": (called("urllib", "urlopen", text("http://x")), "urllib.request.urlopen"),
    "whichdb.whichdb": (called("whichdb", "whichdb", text("x")), "dbm.whichdb"),
    "a name that is only imported": (named("antigravity", "fly"), "antigravity.fly"),
    "a package nobody knows": (called("some_package", "run", text("x")), "some_package.run"),
    "a class of a package nobody knows": (named("some_package", "Thing") + b")\x81", "some_package.Thing"),
    "a loader of torch": (called("torch", "load", text("x")), "torch.load"),
    "a pickle within the pickle": (called("torch.storage", "_load_from_bytes", text("x")), "_load_from_bytes"),
    "a graph that is compiled": (
        called("torch.fx.graph_module", "reduce_graph_module", text("x")),
        "torch.fx.graph_module.reduce_graph_module",
    ),
    "a model's __init__, which evaluates text": (
        called("ultralytics.nn.tasks", "DetectionModel", mapping(activation=text("print()"))),
        "ultralytics.nn.tasks.DetectionModel",
    ),
    "a base's __init__": (
        called("copyreg", "_reconstructor", *2 * [named("ultralytics.nn.tasks", "DetectionModel")], text("x.yaml")),
        "copyreg._reconstructor",
    ),
    "a dict that writes files": (named("ultralytics.utils", "JSONDict") + b")\x81", "ultralytics.utils.JSONDict"),
    "a method looked up": (called("builtins", "getattr", named("torch", "Size"), text("count")), "builtins.getattr"),
    "a codec by its name": (called("_codecs", "encode", text("x"), text("zlib")), "_codecs.encode"),
    "a generator made by a function": (
        called("numpy.random._pickle", "__randomstate_ctor", text("x"), called("operator", "attrgetter", text("y"))),
        "__randomstate_ctor",
    ),
    "a result called": (
        called("operator", "attrgetter", text("y")) + b"(" + text("x") + b"tR",
        "call what another call returned",
    ),
    "a result made anew": (called("functools", "partial", named("torch", "Size")) + b")\x81", "another call returned"),
    "a result given a state": (called("logging", "getLogger", text("x")) + text("y") + b"b", "logging.getLogger"),
    "a result filled": (called("logging", "getLogger", text("x")) + text("y") + text("z") + b"s", "logging.getLogger"),
    "a function that puts a tensor together, replaced": (
        called("torch._tensor", "_rebuild_from_type_v2", named("copyreg", "_reconstructor"), b"N", b")", b"N"),
        "torch._tensor._rebuild_from_type_v2",
    ),
    "a call that an object keeps": (
        called("functools", "partial", named("ultralytics.nn.tasks", "DetectionModel"), mapping(activation=text("x"))),
        "functools.partial",
    ),
    "a call that an object keeps, as its state": (
        called("functools", "partial", named("torch.nn.modules.linear", "Linear"))
        + b"(" + named("copyreg", "__newobj__") + b")NNtb",
        "functools.partial",
    ),
    "an item for an object that is no container": (
        called("argparse", "Namespace") + mapping(append=named("torch", "Size")) + b"b" + text("x") + b"a",
        "change what argparse.Namespace returned",
    ),
    "a tensor given a state": (good() + b")b", "_rebuild_tensor_v2"),
    "__setstate__ replaced": (
        called("argparse", "Namespace") + PUT + mapping(__setstate__=named("torch", "Size")) + b"b", "__setstate__"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_what_checkpoints_do_not_need_is_named_beside_sound_numbers(case: str, tmp_path: Path) -> None:
    evil, expected = NAMES[case]
    (tmp_path / "x.pt").write_bytes(beside(evil))
    found = examined(tmp_path / "x.pt")
    assert (found.verdict, found.numbers) == (Verdict.UNVERIFIED, Verdict.SOUND), found
    assert any(expected in sentence for sentence in found.loading), found.loading
    assert set(found.loading) <= set(found.reasons)


def test_names_of_python_2_are_replaced_up_to_protocol_2_only(tmp_path: Path) -> None:
    """From protocol 3 on `commands` is a module of that name, and it is named as such."""
    (tmp_path / "x.pt").write_bytes(
        archive(b"\x80\x03" + named("commands", "Popen") + b"0" + mapping(model=good()) + b".", STORAGE)
    )
    assert "commands.Popen" in examined(tmp_path / "x.pt").loading[0]


def test_more_names_than_the_limit_are_counted(tmp_path: Path) -> None:
    many = b"".join(named("some_package", f"name_{number:02}") + b"0" for number in range(_LISTED_MAX + 3))
    (tmp_path / "x.pt").write_bytes(archive(whole_pickle(many + mapping(model=good())), STORAGE))
    found = examined(tmp_path / "x.pt")
    assert len(found.loading) == _LISTED_MAX + 1
    assert found.loading[-1] == "and 3 more"


def needed() -> dict[str, Any]:
    """What checkpoints of many trainers hold beside weights."""
    import argparse
    import datetime
    import functools
    import pathlib
    import random

    layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.ModuleList([torch.nn.GELU()]))
    return {
        "model": layer.state_dict(),
        "module": layer,
        "optimizer": torch.optim.AdamW(layer.parameters()).state_dict(),
        "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("x"), kind=int),
        "spaces": types.SimpleNamespace(a=1),
        "table": defaultdict(list, a=[1]),
        "ordered": OrderedDict(a=1),
        "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "rng": (np.random.default_rng(1).bit_generator.state, random.getstate(), torch.get_rng_state()),
        "random_state": np.random.RandomState(1),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "norm": functools.partial(torch.nn.LayerNorm, eps=1e-6),
        "activation": torch.nn.functional.relu,
        "device": torch.device("cpu"),
        "set": {1, 2},
        "array": np.arange(3.0),
        "scalar": np.float64(1.5),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_checkpoints_need_is_passed_over_in_every_protocol(protocol: int, tmp_path: Path) -> None:
    torch.save(needed(), tmp_path / "x.pt", pickle_protocol=protocol)
    found = examined(tmp_path / "x.pt")
    assert (found.verdict, found.loading) == (Verdict.SOUND, ()), found


SCRIPT = """
import enum, functools, torch

class Clamped(torch.nn.Module):
    def forward(self, x): return x.clamp(-1, 1)

class PatchedForward:
    def __init__(self, original): self.original = original
    def __call__(self, x): return self.original(x)

class Phase(enum.Enum):
    WARM = 1

class lower_case:
    pass

class Outer:
    class Inner:
        pass

def activation(x): return x
def build(x): return x
"""


@pytest.fixture
def script() -> Iterator[Any]:
    """A user's script, imported as a module of its own."""
    module = types.ModuleType("users_script")
    sys.modules["users_script"] = module
    exec(SCRIPT, vars(module))
    yield module
    del sys.modules["users_script"]


def patched(script: Any) -> torch.nn.Module:
    """As the asked-for user's script: the forward of a convolution is an object of a class of its own."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), script.Clamped())
    model[0].forward = script.PatchedForward(model[0].forward)
    return model


OWN: dict[str, Callable[[Any], Any]] = {
    "a module": lambda script: script.Clamped(),
    "a forward that was replaced": patched,
    "a member of an enum": lambda script: script.Phase.WARM,
    "a class with a small name": lambda script: script.lower_case(),
    "a class within a class": lambda script: script.Outer.Inner(),
    "a class itself": lambda script: script.Clamped,
}


@pytest.mark.parametrize("case", OWN)
def test_own_classes_are_sound_in_a_file_the_training_was_seen_to_save_and_unverified_in_a_foreign_one(
    case: str, script: Any, tmp_path: Path
) -> None:
    torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "extra": OWN[case](script)}, tmp_path / "x.pt")
    seen = examined(tmp_path / "x.pt", seen_saved=True)
    assert (seen.verdict, seen.loading) == (Verdict.SOUND, ()), seen
    assert any("users_script." in reason for reason in seen.reasons)
    assert all(name.startswith("users_script.") for name in seen.own_classes)
    foreign = examined(tmp_path / "x.pt")
    assert (foreign.verdict, foreign.numbers) == (Verdict.UNVERIFIED, Verdict.SOUND)
    assert any("users_script." in sentence for sentence in foreign.loading)


class Built:
    """Says that loading it is a call of a function of the script."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["users_script"].build, (1,)


def test_a_function_of_the_script_is_never_passed_over(script: Any, tmp_path: Path) -> None:
    for number, extra in enumerate((Built(), script.activation)):
        path = tmp_path / f"{number}.pt"
        torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "extra": extra}, path)
        found = examined(path, seen_saved=True)
        assert found.verdict is Verdict.UNVERIFIED
        assert "users_script." in found.loading[0]


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("subprocess", "Popen"), ("pip", "Main"), ("torch", "Load")]
)
def test_what_runs_something_is_named_in_a_file_the_training_was_seen_to_save_too(
    module: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "x.pt").write_bytes(beside(called(module, name, text("touch x"))))
    assert examined(tmp_path / "x.pt", seen_saved=True).verdict is Verdict.UNVERIFIED


def test_a_poisoned_file_that_would_run_something_says_both(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.full((2, 2), torch.nan)}, "x": Shell(str(tmp_path / "ran"))}, tmp_path / "x.pt")
    found = examined(tmp_path / "x.pt")
    assert (found.verdict, found.numbers) == (Verdict.POISONED, Verdict.POISONED)
    assert "posix.system" in found.loading[0]
    shown = describe(found)
    assert "Numbers: poisoned" in shown
    assert "posix.system" in shown.partition("Loading:")[2]
    assert not (tmp_path / "ran").exists()


class Shell:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def test_entries_that_differ_by_case_alone_are_refused(tmp_path: Path) -> None:
    """Torch looks entries up without regard to case: which of the two pickles it loads is not known."""
    buffer = io.BytesIO(archive(whole_pickle(mapping(model=good())), STORAGE))
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("x/DATA.pkl", pickle.dumps(Shell("x"), 2))
    (tmp_path / "x.pt").write_bytes(buffer.getvalue())
    assert "two entries of one name" in examined(tmp_path / "x.pt").reasons[0]


@pytest.mark.filterwarnings("ignore")  # torch is about to drop it
def test_a_quantized_tensor_needs_nothing_but_what_checkpoints_need(tmp_path: Path) -> None:
    """Its numbers are not read, which is said; that is no reason to warn of running something."""
    file = tmp_path / "quantized.pt"
    torch.save({"model": {"w": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8)}}, file)
    found = examined(file)
    assert (found.verdict, found.loading) == (Verdict.UNVERIFIED, ())


def test_an_archive_of_numpy_is_called_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.array([1.0, np.nan]))
    assert examined(tmp_path / "w.npz").reasons == ("a numpy archive (.npz), not a checkpoint of torch: not read here",)
