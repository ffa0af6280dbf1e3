"""The tokens that open the port: files that only their user can read. An edge file."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from trainer_hooks.wire import document_io

TOKEN_NAME = "api.token"  # noqa: S105 - the name of the file: it may change something
READ_TOKEN_NAME = "read.token"  # noqa: S105 - likewise: it may only look
TOKEN_CHARS_MIN = 32  # a shorter one was not made here


def token_in(folder: Path, name: str = TOKEN_NAME) -> str:
    """The token of this name in the daemon's `folder`, made at its first start.

    Where it can't be kept, one that nobody knows.
    """
    path = folder / name
    try:
        found = path.lstat()
        if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            token = document_io.read_bytes(path).decode("ascii").strip()
            if len(token) >= TOKEN_CHARS_MIN and token.isalnum():
                return token
    except (OSError, document_io.RunFolderError, UnicodeDecodeError):
        pass  # there is none, or none that can be trusted: another is made
    token = secrets.token_hex(32)
    with contextlib.suppress(OSError):  # a full disk: this token holds until the daemon ends, and nobody can read it
        document_io.write_bytes(path, f"{token}\n".encode())
    return token
