"""Exit codes of sysexits.h, and errors of the daemon that a person must act on.

Each error says where, what, and what to do, and carries its exit code.
"""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.wire import exit_codes

EXIT_SOFTWARE = 70  # EX_SOFTWARE: the store failed under us; a restart reopens it
EXIT_TAKEN = 73  # EX_CANTCREAT: somebody else has the folder or the port
EXIT_HELD = exit_codes.EXIT_HELD  # EX_TEMPFAIL: the run is held, a person has to look
EXIT_CONFIG = 78  # EX_CONFIG: nothing was started; correct the command, the policy or the folder


class DaemonError(Exception):
    """The daemon can't start or go on. Its text is one sentence for the terminal."""

    exit_code = EXIT_SOFTWARE


class StateFolderTaken(DaemonError):
    """Another daemon of this user lives."""

    exit_code = EXIT_TAKEN

    def __init__(self, folder: Path, pid: int) -> None:
        self.pid = pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"{folder}: {owner} is already the daemon of this folder; use it, or end it first")


class FolderUnsafe(DaemonError):
    """A folder that must be ours alone is not."""

    exit_code = EXIT_CONFIG


class PortTaken(DaemonError):
    """The port of `serve` is in use."""

    exit_code = EXIT_TAKEN

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} on 127.0.0.1 is in use; end its owner or choose another with --port")


class StoreFailed(DaemonError):
    """The history could not be written and what reached the disk is unknown: only a restart can tell."""
