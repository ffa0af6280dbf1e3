"""Which calls an honest checkpoint makes when it is loaded for real. Values only.

This reader calls nothing, but the trainer that resumes will load the file with torch.load and weights_only off. A list
of what is dangerous is never complete (picklescan's and fickling's CVEs), so here is a list of what is known: of the
standard library, of torch and of numpy. Other packages are the training's own code, which runs anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

_KNOWN = {
    "builtins": "bytearray complex dict frozenset getattr int list object range set slice str tuple float bool bytes",
    "collections": "Counter OrderedDict defaultdict deque",
    "copyreg": "_reconstructor __newobj__ __newobj_ex__",
    "datetime": "date datetime time timedelta timezone",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "functools": "partial",
    "operator": "attrgetter itemgetter",
    "_codecs": "encode",
    "logging": "getLogger Logger",
    "uuid": "UUID",
    "random": "Random",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "torch": "Generator Size Tensor device dtype finfo iinfo",
    "torch.cuda.amp.grad_scaler": "GradScaler",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
}
_NAMES = frozenset((module, name) for module, names in _KNOWN.items() for name in names.split())
_TORCH_PARTS = ("torch._utils", "torch._tensor", "torch.storage", "torch.nn", "torch.optim", "torch.amp", "torch.ao.nn")
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # protocol 2, which torch.save writes, has the old names
_INSTALLERS = ("pip", "setuptools", "pkg_resources", "ensurepip")


def unexpected_calls(calls: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each call, as (module, name), that a checkpoint has no reason to make."""
    for module, name in sorted(calls):
        if not _is_expected(_PYTHON_2.get(module, module), name):
            wanted = ascii(f"{module}.{name}")[1:-1][:120]
            yield f"loading it would call {wanted}, which a checkpoint has no reason to"


def _is_expected(module: str, name: str) -> bool:
    if (module, name) in _NAMES:
        return True
    top = module.partition(".")[0]
    if top == "torch":
        # A dotted name walks from the module to anything it imports: torch.nn `modules.os.system`.
        return "." not in name and any(module == part or module.startswith(f"{part}.") for part in _TORCH_PARTS)
    closed = top in sys.stdlib_module_names or top in _INSTALLERS or top == "numpy"
    return not closed and "." not in name and top.isidentifier()
