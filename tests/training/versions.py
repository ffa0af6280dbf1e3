"""Runs these tests on other releases of Ultralytics: `python -m tests.training.versions 8.3.213 8.4.50 [-- PYTEST...]`.

Each release goes into a virtual environment of its own, in front of everything that this interpreter has; what it has
not (torch, above all) is shared. Downloads one wheel of about 1 MB for each. Exits with 1 where a release fails.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def environment_with(version: str, folder: Path) -> Path:
    """Make a virtual environment with that release below `folder`; get its interpreter."""
    home = folder / version
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    shared = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
    Path(paths["purelib"], "shared.pth").write_text(shared)
    install = ["install", "--quiet", "--no-deps", "--ignore-installed", f"ultralytics=={version}"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    return python


def passes(version: str, folder: Path, arguments: list[str]) -> bool:
    """True: the tests pass on that release, and it was that release that they ran on."""
    python = environment_with(version, folder)
    asks = "from importlib.metadata import version; print(version('ultralytics'))"
    found = subprocess.check_output([str(python), "-c", asks], text=True).strip()
    if found != version:
        raise RuntimeError(f"{python}: finds ultralytics {found}, not {version}; nothing was tested")
    options = ["-q", "-p", "no:cacheprovider", "--show-capture=no", f"--basetemp={folder / version / 'tests'}"]
    command = [str(python), "-m", "pytest", "tests/training", *options, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    """The script itself."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    versions, rest = arguments[:at], arguments[at + 1 :]
    if not versions:
        print("name a release of ultralytics: python -m tests.training.versions 8.3.213", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ultralytics-") as folder:
        results = {version: passes(version, Path(folder), rest) for version in versions}
    for version, passed in results.items():
        print(f"ultralytics {version}: {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
