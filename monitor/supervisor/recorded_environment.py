"""The environment a run was started with, kept in its folder for a start after a reboot. Reads and writes a file.

What looks like a secret is never written: it is taken from the environment of whoever resumes the run. So is what
belongs to a login and not to the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainer_hooks.wire.document_io import read, write
from trainer_hooks.wire.run_documents import RunEnvironment
from trainer_hooks.wire.runfolder import RunFolder

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|_DSN$|_URL$|WEBHOOK|PROXY", re.IGNORECASE)
OF_A_LOGIN = re.compile(
    r"(XDG_(RUNTIME_DIR|SESSION|SEAT|VTNR).*|DBUS_.*|DISPLAY|WAYLAND_.*|XAUTHORITY|SSH_.*|TERM|TERM_.*|COLORTERM|COLUMNS|"
    r"LINES|TMUX.*|STY|WINDOW.*|SHLVL|OLDPWD|PWD|_|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|LISTEN_.*|MAINPID|"
    r"WATCHDOG_.*|GPG_.*|TRAINWARDEN_.*)"
)


def record(folder: RunFolder, environment: Mapping[str, str]) -> None:
    """Write down what a later start needs."""
    kept = {name: value for name, value in environment.items() if _is_recorded(name) and _is_text(name + value)}
    write(folder.environment, RunEnvironment(variables=kept))


def restored(folder: RunFolder, present: Mapping[str, str]) -> dict[str, str]:
    """The recorded environment, with what was not recorded from the present one. Raises RunFolderError."""
    if not folder.environment.exists():  # a run of an earlier version
        return dict(present)
    known = read(folder.environment, RunEnvironment).variables
    ours = {name: value for name, value in present.items() if name not in known and not _is_recorded(name)}
    return known | ours


def _is_recorded(name: str) -> bool:
    return not SECRET.search(name) and not OF_A_LOGIN.fullmatch(name)


def _is_text(text: str) -> bool:
    """JSON can't hold bytes that are not text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
