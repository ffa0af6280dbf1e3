"""A checkpoint that is a folder of files, as the Trainer of Hugging Face writes it: every file that holds numbers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.core.model import Verdict
from monitor.vault.verify import Examination, examine

FILES_MAX = 1000  # a model of 400 GB comes in about 100 parts
_INDEX_BYTES_MAX = 64 * 1024 * 1024
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_WORST_FIRST = (Verdict.POISONED, Verdict.UNVERIFIED, Verdict.SOUND)


class _Index(msgspec.Struct, frozen=True):
    """model.safetensors.index.json: in which file each tensor lies."""

    weight_map: dict[str, str]


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that hold numbers, by their names. Raises OSError."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def examine_folder(folder: Path) -> dict[str, Examination]:
    """Each file by its name. A file that is missing, or can't be examined, is UNVERIFIED. Raises OSError."""
    files = files_in(folder)
    found = {_shown(path.name): examine(path, None, is_part=True) for path in files[:FILES_MAX]}
    if len(files) > FILES_MAX:
        more = len(files) - FILES_MAX
        rest = f"{more} more {'file' if more == 1 else 'files'}"
        found[rest] = _missing(f"only the first {FILES_MAX} files are examined")
    for index in sorted(folder.glob("*.index.json")):
        for name in _listed(index):
            found.setdefault(name, _missing(f"the file is missing: {index.name} lists it"))
    if not any(one.has_weights for one in found.values()):
        found["the folder"] = _missing("no weights found in any of its files")
    return found


def verdict_of(found: dict[str, Examination]) -> Verdict:
    """The worst verdict of the files."""
    verdicts = {one.verdict for one in found.values()}
    return next(verdict for verdict in _WORST_FIRST if verdict in verdicts)


def _listed(index: Path) -> list[str]:
    try:
        with index.open("rb") as file:
            data = file.read(_INDEX_BYTES_MAX + 1)
        parsed = msgspec.json.decode(data, type=_Index) if len(data) <= _INDEX_BYTES_MAX else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        parsed = None
    if parsed is None:
        return [f"what {_shown(index.name)} lists, which can't be read"]
    return sorted({_shown(name) for name in parsed.weight_map.values()})


def _shown(name: str) -> str:
    """A name, safe to print."""
    return ascii(name)[1:-1][:200]


def _missing(reason: str) -> Examination:
    return Examination(verdict=Verdict.UNVERIFIED, reasons=(reason,))
