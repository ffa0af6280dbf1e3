"""What loading a checkpoint would run: its pickle's names, held against what checkpoints need. Pure.

This reader runs nothing, but the trainer that resumes will load the file with torch.load and weights_only off. A list
of what is dangerous is never complete (picklescan's and fickling's CVEs), so the list is one of what is known to be
harmless. A training's own classes are not on it: they are passed over only in a file that this training was seen to
save.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from monitor.vault.inert import Global, Node, Pickle

Name = tuple[str, str]  # module, name


def _names(table: dict[str, str]) -> frozenset[Name]:
    return frozenset((module, name) for module, names in table.items() for name in names.split())


_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
_GENERATORS = "__bit_generator_ctor __generator_ctor __randomstate_ctor"
_BUILT_ON = _names(  # may be called, and what comes out may be given a state
    {
        "argparse": "Namespace",
        "builtins": "frozenset object set",
        "collections": "Counter OrderedDict defaultdict deque",
        "copyreg": "_reconstructor __newobj__ __newobj_ex__",
        "functools": "partial",
        "numpy": "dtype",
        "numpy._core.multiarray": "_reconstruct",
        "numpy.core.multiarray": "_reconstruct",
        "numpy.random._pickle": _GENERATORS,
        "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
        "random": "Random",
        "torch": "Generator",
        "types": "SimpleNamespace",
        "ultralytics.utils": "IterableSimpleNamespace",
        "ultralytics.yolo.utils": "IterableSimpleNamespace",
    }
)
_CALLED = _BUILT_ON | _names(
    {
        "_codecs": "encode",
        "builtins": "bytearray bytes complex range slice",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "logging": "getLogger",
        "numpy._core.multiarray": "scalar",
        "numpy._core.numeric": "_frombuffer",
        "numpy.core.multiarray": "scalar",
        "numpy.core.numeric": "_frombuffer",
        "operator": "attrgetter itemgetter",
        "pathlib": _PATHS,
        "pathlib._local": _PATHS,
        "torch": "Size device",
        "torch._tensor": "_rebuild_from_type _rebuild_from_type_v2",
        "torch.nn.backends.thnn": "_get_thnn_function_backend",  # modules saved by torch before 1.5
        "torch.serialization": "_get_layout",
        "uuid": "UUID",
        # Members of enums in the training_args.bin of Hugging Face's Trainer.
        "transformers.trainer_utils": "FSDPOption HubStrategy IntervalStrategy SaveStrategy SchedulerType",
        "transformers.training_args": "OptimizerNames ParallelMode",
        "accelerate.utils.dataclasses": "DistributedType",
    }
)
_REBUILD = "_rebuild_"  # functions of torch._utils; each only puts a tensor together
_IMPORTED = _names(  # may be named as a value, and is never called
    {
        "builtins": "bool dict float int list str tuple",
        "logging": "Logger",
        "numpy": "bool bool_ ndarray float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64",
        "torch": "Tensor dtype finfo iinfo float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 "
        "uint8 uint16 uint32 uint64 short int long bool complex32 complex64 complex128 quint8 qint8 qint32 "
        "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu strided sparse_coo "
        "contiguous_format preserve_format channels_last channels_last_3d",
        "numpy.random._mt19937": "MT19937",
        "numpy.random._pcg64": "PCG64 PCG64DXSM",
        "numpy.random._philox": "Philox",
        "numpy.random._sfc64": "SFC64",
        "typing": "Any",
    }
)
# Packages whose classes are made without a call of their __init__, which pickle never makes. Calling one is not
# harmless: a DetectionModel evaluates text of its configuration.
_CLASSES = (
    *("torch.nn", "torch.optim", "torch.amp", "torch.ao.nn", "torch.ao.quantization", "torch.cuda.amp"),
    *("ultralytics.nn", "ultralytics.utils.loss", "ultralytics.utils.tal"),
    *("ultralytics.yolo.utils.loss", "ultralytics.yolo.utils.tal"),
    *("omegaconf", "lightning.fabric.utilities.data", "lightning_fabric.utilities.data"),
    *("lightning.pytorch.utilities.parsing", "pytorch_lightning.utilities.parsing"),
    *("lightning.pytorch.callbacks", "pytorch_lightning.callbacks"),
    *("transformers.training_args", "transformers.trainer_pt_utils", "accelerate.state"),
)
_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")  # activations that a module keeps; named, never called
_CLASS_NAME = re.compile(r"(_|v8)?[A-Z]\w*")
_OWN_CLASS_NAME = re.compile(r"(_*[A-Z]\w*\.)*_*[A-Z]\w*")
_INSTALLERS = ("pip", "setuptools", "pkg_resources", "ensurepip")
_BASES = ("object", "dict", "list", "set", "frozenset", "tuple", "str", "int", "float", "bytes")


class Loading(NamedTuple):
    """What loading would run beyond what checkpoints need."""

    unexpected: tuple[str, ...]  # sentences; none: nothing
    own_classes: tuple[str, ...]  # of a file that the training was seen to save: its own classes


def what_loading_runs(pickle: Pickle, *, seen_saved: bool) -> Loading:
    """Every name and every call of the pickle. `seen_saved`: a hook saw the training of today write this file."""
    judge, foreign = _Judge(seen_saved=seen_saved), _Judge(seen_saved=False)
    found = {sentence for node in pickle.nodes for sentence in judge.of_node(node)}
    makers = [(maker, node.is_new) for node in pickle.nodes if (maker := judge.maker_of(node))]
    unused = pickle.names - {name for name, _ in makers}
    found |= {f"import {shown_name(*name)}" for name in unused if not judge.may_import(name)}
    if pickle.sets_setstate:  # an object's next state would be given to whatever stands there
        found.add("replace an object's __setstate__")
    own = {name for name in pickle.names if judge.is_own_class(*name)}
    own |= {name for name, is_new in makers if is_new and judge.is_own(name[0])}
    return Loading(
        tuple(f"loading it would {what}, which is not on the list of what checkpoints need" for what in sorted(found)),
        tuple(shown_name(*name) for name in sorted(own) if not foreign.may_import(name)),
    )


def shown_name(module: str, name: str) -> str:
    """A name from a file, safe to print."""
    return ascii(f"{module}.{name}")[1:-1][:120]


class _Judge:
    """The rules, for one file."""

    def __init__(self, *, seen_saved: bool) -> None:
        self._seen_saved = seen_saved

    def maker_of(self, node: Node) -> Name | None:
        """The name of what makes an object; None for what another call returned."""
        maker = node.made_by
        if isinstance(maker, Global):
            return maker.module, maker.name
        if self._seen_saved and isinstance(maker, Node) and maker.is_call_of("builtins", "getattr"):
            args = maker.args if isinstance(maker.args, tuple) else ()  # how protocol 2 writes a class within a class
            if len(args) == 2 and isinstance(args[0], Global) and self.is_own_class(args[0].module, str(args[1])):
                return args[0].module, f"{args[0].name}.{args[1]}"
        return None

    def of_node(self, node: Node) -> Iterator[str]:
        """What is wrong with one object that the pickle makes; nothing for one that checkpoints need."""
        name = self.maker_of(node)
        if name is None:
            yield "call what another call returned"
            return
        allowed = self.may_make(*name) if node.is_new else self.may_call(*name) and self._harmless(node)
        if not allowed:
            yield f"call {shown_name(*name)}"
        elif (node.has_state and not self._may_set(node, name)) or (node.is_filled and not self._may_fill(node, name)):
            yield f"change what {shown_name(*name)} returned"

    def may_import(self, name: Name) -> bool:
        """True for what may be named without being used."""
        return name in _IMPORTED or self.may_call(*name) or self._is_class(*name) or _is_value(*name)

    def may_make(self, module: str, name: str) -> bool:
        """True for a class whose objects may be made without its __init__: only a class can be used like that."""
        return (
            (module, name) in _IMPORTED
            or (module, name) in _BUILT_ON
            or self.is_own(module)
            or self._is_class(module, name)
        )

    def _is_class(self, module: str, name: str) -> bool:
        is_class = bool(_CLASS_NAME.fullmatch(name))
        return is_class and (_is_in(module, _CLASSES) or (self._seen_saved and _is_in(module, ("torch",))))

    def may_call(self, module: str, name: str) -> bool:
        """True for what may be called with any arguments."""
        if (module, name) in _CALLED or self.is_own_class(module, name):
            return True
        if (module, name) == (
            "builtins",
            "getattr",
        ):  # a bound method of an object, such as a forward that was replaced
            return self._seen_saved
        return module == "torch._utils" and name.startswith(_REBUILD) and name.isidentifier()

    def is_own_class(self, module: str, name: str) -> bool:
        """True for a class of the script by its name, which begins with a capital. A function is not passed over."""
        return self.is_own(module) and bool(_OWN_CLASS_NAME.fullmatch(name))

    def is_own(self, module: str) -> bool:
        """True for a module of the script, or of a package it uses, in a file that its training was seen to save."""
        top = module.partition(".")[0]
        closed = top in sys.stdlib_module_names or top in _INSTALLERS or top in ("numpy", "torch")
        return self._seen_saved and not closed

    def _may_set(self, node: Node, name: Name) -> bool:
        return node.is_new or name in _BUILT_ON or self.is_own_class(*name)

    def _may_fill(self, node: Node, name: Name) -> bool:
        module, short = name
        kept = module in ("builtins", "collections", "copyreg") and self._may_set(node, name)
        return kept or short == "AttributeDict" or self.is_own_class(module, short)

    def _harmless(self, node: Node) -> bool:
        """False for a function on the list that would call, or look up, one of its arguments."""
        args = node.args if isinstance(node.args, tuple) else ()
        if node.is_call_of("torch._tensor"):
            return bool(args) and isinstance(args[0], Global) and self.may_call(args[0].module, args[0].name)
        if node.is_call_of("numpy.random._pickle"):
            return all(isinstance(one, str) or _is_from(one, "numpy.random") for one in args)
        if node.is_call_of("copyreg", "_reconstructor"):
            return len(args) == 3 and isinstance(args[1], Global) and (args[1].module, args[1].name) in _BUILTIN_BASES
        if node.is_call_of("_codecs", "encode"):
            return len(args) == 2 and args[1] in ("latin1", "latin-1", "utf-8")
        if node.is_call_of("builtins", "getattr"):
            return len(args) == 2 and isinstance(args[0], (Node, Global)) and _is_plain(args[1])
        return True


_BUILTIN_BASES = frozenset(("builtins", name) for name in _BASES)


def _is_from(value: object, module: str) -> bool:
    """True for a name or an object of a module."""
    wanted = value.made_by if isinstance(value, Node) else value
    return isinstance(wanted, Global) and _is_in(wanted.module, (module,))


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


def _is_value(module: str, name: str) -> bool:
    if module in ("torch", "torch.storage", "torch.cuda"):
        return name.endswith("Storage") and name.isidentifier()
    return module in _FUNCTIONS and _is_plain(name)


def _is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
