"""What a file is that is no log, by its first bytes, and what to do about it. Pure."""

from __future__ import annotations

AS_CSV = "export it as CSV"
KNOWN = (
    (b"PK\x03\x04", "is a zip archive or a spreadsheet: unpack it, or " + AS_CSV),
    (b"BZh", "is packed with bzip2: unpack it"),
    (b"\xfd7zXZ", "is packed with xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd: unpack it"),
    (b"PAR1", "is a Parquet table: " + AS_CSV),
    (b"SQLite format 3\0", "is a SQLite database, and no history of trainwarden: " + AS_CSV),
    (b":W&B", "is the binary file of a W&B run: export its history as CSV"),
    (b"\x89HDF", "is an HDF5 file: " + AS_CSV),
    (b"%PDF", "is a PDF: " + AS_CSV),
)


def described(head: bytes) -> str:
    """What it is; empty: it may be a log."""
    return next((what for magic, what in KNOWN if head.startswith(magic)), "")
