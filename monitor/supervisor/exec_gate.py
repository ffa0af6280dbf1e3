"""Waits until the supervisor has written down the new process and given it the terminal, then execs the command.

The supervisor's own interpreter runs this file (`-I -S exec_gate.py FD FOLDER COMMAND...`); nobody imports it. If the
supervisor dies first, the training does not start. Without this wait a training could run whose pid nobody knows.
"""

from __future__ import annotations

import os
import signal
import sys

NOT_STARTED = 75  # as monitor.errors.EXIT_HELD; this file imports nothing of ours


def initial_environment() -> dict[bytes, bytes]:
    """As the supervisor gave it: this interpreter may have changed its own copy (LC_CTYPE in a C locale)."""
    with open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries if b"=" in entry)}


def main(gate: int, folder: str, command: list[str]) -> int:
    """Wait, then exec. Returns only where the training could not be started, with the exit code for that."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.read(gate, 1) != b"1":
        return NOT_STARTED
    os.close(gate)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both; a program expects neither ignored
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does: closing the terminal must not end the training
    try:
        os.chdir(folder)
        os.execvpe(command[0], command, initial_environment())  # noqa: S606 - no shell: that is the point
    except OSError as error:
        sys.stderr.write(f"trainwarden: {command[0]}: can't be started in {folder}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
