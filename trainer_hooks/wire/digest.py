"""The digest of a checkpoint, as plans and manifests name it."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024


def sha256_of(file: BinaryIO) -> str:
    """The sha256, hex, of the rest of an open file. What hashlib.file_digest does from Python 3.11 on."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
