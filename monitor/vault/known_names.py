"""What checkpoints need when they are loaded: names of Python, torch, numpy and of some trainers. Values only.

A list of what is dangerous is never complete (picklescan's and fickling's CVEs), so this one is of what is known to be
harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from monitor.core.model.frameworks import checkpoint_keys

Name = tuple[str, str]  # module, name


def _names(table: dict[str, str]) -> frozenset[Name]:
    return frozenset((module, name) for module, names in table.items() for name in names.split())


_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
_GENERATORS = "__bit_generator_ctor __generator_ctor __randomstate_ctor"
_NAMESPACES = {module: name for keys in checkpoint_keys() for module, name in keys.namespaces}
BUILT_ON = _names(  # may be called, and what comes out may be given a state
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
        **_NAMESPACES,
    }
)
CALLED = BUILT_ON | _names(
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
IMPORTED = _names(  # may be named as a value, and is never called
    {
        "builtins": "bool dict float int list str tuple",
        "logging": "Logger",
        "numpy": "bool bool_ ndarray float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64",
        "torch": "Tensor dtype finfo iinfo float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 "
        "uint8 uint16 uint32 uint64 short int long bool complex32 complex64 complex128 quint8 qint8 qint32 "
        "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu strided sparse_coo "
        "contiguous_format preserve_format channels_last channels_last_3d "
        "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric "
        "per_channel_affine_float_qparams",
        "numpy.random._mt19937": "MT19937",
        "numpy.random._pcg64": "PCG64 PCG64DXSM",
        "numpy.random._philox": "Philox",
        "numpy.random._sfc64": "SFC64",
        "typing": "Any",
    }
)
# Packages whose classes are made without a call of their __init__, which pickle never makes. Calling one is not
# harmless: some evaluate text of their configuration.
CLASSES = (
    *("torch.nn", "torch.optim", "torch.amp", "torch.ao.nn", "torch.cuda.amp"),
    *("torch.ao.quantization.fake_quantize", "torch.ao.quantization.observer", "torch.ao.quantization.qconfig"),
    *(package for keys in checkpoint_keys() for package in keys.class_packages),
    *("omegaconf", "lightning.fabric.utilities.data", "lightning_fabric.utilities.data"),
    *("lightning.pytorch.utilities.parsing", "pytorch_lightning.utilities.parsing"),
    *("lightning.pytorch.callbacks", "pytorch_lightning.callbacks"),
    *("transformers.training_args", "transformers.trainer_pt_utils", "accelerate.state"),
)
_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")  # activations that a module keeps; named, never called
PARTIALS = ("torch.nn.modules", "torch.nn.functional", "torch.ao.quantization", "torch._C._nn")
CLASS_NAME = re.compile(r"(_|v\d+)?[A-Z]\w*")
OWN_CLASS_NAME = re.compile(r"(_*[A-Z]\w*\.)*_*[A-Z]\w*")
INSTALLERS = ("pip", "setuptools", "pkg_resources", "ensurepip")
BASES = ("object", "dict", "list", "set", "frozenset", "tuple", "str", "int", "float", "bytes")


def rebuilds(module: str, name: str) -> bool:
    """True for a function of torch that only puts a tensor together."""
    return module == "torch._utils" and name.startswith(_REBUILD) and name.isidentifier()


def is_value(module: str, name: str) -> bool:
    """True for what is named as a value: the class of a storage, or a function that a module keeps."""
    if module in ("torch", "torch.storage", "torch.cuda"):
        return name.endswith("Storage") and name.isidentifier()
    return module in _FUNCTIONS and is_plain(name)


def is_plain(name: object) -> bool:
    """True for the name of one attribute that is not private."""
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


def is_in(module: str, packages: Iterable[str]) -> bool:
    """True for one of the packages, or a module below one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)
