"""The bytes of a log as importers read them: unpacked, in UTF-8, line by line, as often as asked. Reads files."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import BinaryIO, cast

HEAD_BYTES = 256 * 1024  # what recognition may look at; some logs begin with the source code of their script
LOG_BYTES_MAX = 512 * 1024 * 1024  # unpacked; a log of a million rows has about 200 MB
LINE_BYTES_MAX = 16 * 1024 * 1024  # a longer line is read in pieces: it is not a line of a log
BLOCK_BYTES = 256 * 1024
GZIP = b"\x1f\x8b"
WIDE = {  # the longer mark first: it begins like the shorter one
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# What terminals are told: colours, positions, titles, links
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")
BINARY_BYTES = 12  # a file of TensorBoard has zeros in them
WIDE_SHARE = 0.9  # of every second byte is zero in UTF-16 without a mark


class ContentError(Exception):
    """The bytes can't be unpacked, or there are too many of them. Says why, and what to do."""


class Content:
    """A log. `opens` begins at its first byte each time; more than `bytes_max` are refused."""

    def __init__(self, opens: Callable[[], BinaryIO], bytes_max: int = LOG_BYTES_MAX) -> None:
        self._opens, self._bytes_max = opens, bytes_max
        self.cut = False  # once all lines are read: the last one has no end, it may still be written

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Bytes that are in memory."""
        return cls(partial(io.BytesIO, data))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A stream of the unpacked bytes."""
        with self._opens() as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("BinaryIO", unpacked)

    @cached_property
    def head(self) -> bytes:
        """How the text begins. Raises ContentError."""
        with _unpacking(), self.open() as opened:
            begins = _read(opened, HEAD_BYTES)
        encoding, mark = _encoding(begins)
        head = begins[mark:].decode(encoding, "replace").encode() if encoding else begins[mark:]
        return head if b"\0" in head[:BINARY_BYTES] else without_escapes(head)

    def lines(self) -> Iterator[bytes]:
        """Every line without its end; a carriage return, which rewrites a progress bar, ends one too."""
        rest, size = b"", 0
        with _unpacking(), self.open() as opened:
            for block in _blocks(opened):
                size += len(block)
                if size > self._bytes_max:
                    raise self._too_long()
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                if lines and (b"\x1b" in block or b"\x1b" in lines[0]):
                    lines = list(map(without_escapes, lines))
                if b"\r" in block or b"\r" in rest:
                    for line in lines:
                        yield from line.splitlines() or [line]
                else:
                    yield from lines
                if len(rest) > LINE_BYTES_MAX:
                    yield rest
                    rest = b""
        self.cut = bool(rest)
        yield from without_escapes(rest).splitlines()

    def whole(self) -> bytes:
        """All of the text, for a document that has no lines. Raises ContentError."""
        with _unpacking(), self.open() as opened:
            data = _read(opened, self._bytes_max + 1)
        if len(data) > self._bytes_max:
            raise self._too_long()
        encoding, mark = _encoding(data[:HEAD_BYTES])
        return data[mark:].decode(encoding, "replace").encode() if encoding else data[mark:]

    def _too_long(self) -> ContentError:
        limit = f"has more than {self._bytes_max} bytes, which is the limit"
        return ContentError(f"{limit}: split it, and give each part the header of its table")


@contextmanager
def _unpacking() -> Iterator[None]:
    """What gzip raises becomes ContentError."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ContentError(f"is a gzip file that is damaged ({error}); unpack or copy it again") from error


def without_escapes(text: bytes) -> bytes:
    """The text without what only a terminal understands."""
    return ESCAPES.sub(b"", text) if b"\x1b" in text else text


def _encoding(begins: bytes) -> tuple[str, int]:
    """The encoding where it is not UTF-8, and how many bytes mark it."""
    if begins.startswith(codecs.BOM_UTF8):
        return "", len(codecs.BOM_UTF8)
    for mark, encoding in WIDE.items():
        if begins.startswith(mark):
            return encoding, len(mark)
    for wide, narrow, encoding in ((1, 0, "utf-16-le"), (0, 1, "utf-16-be")):
        zeros, others = begins[wide::2], begins[narrow::2]
        if b"\n" in others and zeros.count(0) > WIDE_SHARE * len(zeros) and others.count(0) < len(others) / 100:
            return encoding, 0
    return "", 0


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    """The text in UTF-8. What is packed and ends early ends as any file does that is being written."""
    encoding, mark = _encoding(_read(opened, HEAD_BYTES))
    opened.seek(mark)
    if not encoding:
        yield from iter(partial(_read, opened, BLOCK_BYTES), b"")
        return
    decode = codecs.getincrementaldecoder(encoding)("replace").decode
    for block in iter(partial(_read, opened, BLOCK_BYTES), b""):
        yield decode(block).encode("utf-8", "replace")


def _read(opened: BinaryIO, limit: int) -> bytes:
    """The first `limit` bytes; fewer where the file, or what is packed in it, ends before."""
    if not isinstance(opened, gzip.GzipFile):
        return opened.read(limit)
    pieces, left = [], limit
    try:
        while left > 0 and (piece := opened.read1(left)):
            pieces.append(piece)
            left -= len(piece)
    except EOFError:
        pass  # the file is cut off: what came before is read
    return b"".join(pieces)
