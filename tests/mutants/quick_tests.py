"""Which tests should notice a change of a file: those of its room, the ones that name its module first."""

from __future__ import annotations

from pathlib import Path

ROOMS = {  # by the beginning of a file's path: folders and files of quick tests
    "monitor/vault/": (
        "tests/bounds/test_vault_bounds.py",
        "tests/bounds/test_vault_limits.py",
        "tests/unit/monitor/vault",
    ),
    "monitor/core/diagnosis/": ("tests/unit/monitor/diagnosis", "tests/bounds/test_core_limits.py"),
    "monitor/core/detectors/": ("tests/unit/monitor", "tests/bounds/test_core_limits.py"),
    "monitor/core/": (
        "tests/unit/monitor",
        "tests/properties",
        "tests/bounds/test_core_bounds.py",
        "tests/bounds/test_core_limits.py",
    ),
}
ALWAYS = (  # of monitor/core
    "tests/unit/monitor/test_rules_of_acting.py",
    "tests/bounds/test_core_bounds.py",
    "tests/unit/monitor/test_core.py",
)
FILES_MAX = 12


def quick_tests(root: Path, file: str) -> list[str]:
    """Test files, the likeliest to fail first."""
    folders = next(folders for room, folders in ROOMS.items() if file.startswith(room))
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, name = module.rpartition(".")
    texts = {str(path.relative_to(root)): path.read_text() for path in _files(root, folders)}
    naming = [path for path, text in texts.items() if module in text or f"from {package} import {name}" in text]
    speaking = [path for path, text in texts.items() if name in text and path not in naming]
    found = [*naming, *(ALWAYS if file.startswith("monitor/core/") else ()), *speaking]
    if file.startswith("monitor/vault/"):
        found += list(texts)
    return list(dict.fromkeys(found))[:FILES_MAX]


def _files(root: Path, folders: tuple[str, ...]) -> list[Path]:
    found = [root / folder for folder in folders]
    return [path for each in found for path in ([each] if each.is_file() else sorted(each.rglob("test_*.py")))]
