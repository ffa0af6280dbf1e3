"""The loss curve as a small PNG, for messages on a phone. Pure: numbers in, bytes out.

Batches from left to right, the loss upwards, between two grey lines with its highest and lowest value. Red below:
batches that are not finite. Red upright: the onset. A loss above five medians is drawn at the upper edge.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from statistics import median
from typing import TypeGuard

from monitor.core.format import number

WIDTH, HEIGHT, BORDER = 640, 240, 24  # pixels; with its two texts it has some 2 kB
CLIP_MEDIANS = 5.0
HUGE = 1e30
WHITE, GREY, BLUE, RED, BLACK = range(5)
COLOURS = b"\xff\xff\xff\xd0\xd0\xd0\x1f\x5f\xbf\xd0\x20\x20\x40\x40\x40"
SCALE = 2  # of a digit's pixels
GLYPHS = {  # five rows of three pixels, a bit each
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", ".": "00002", "-": "00700", "e": "07747", "+": "02720", ",": "00024",
}  # fmt: skip

Point = tuple[int, float | None]  # the number of a batch, and its loss; None: not finite


def loss_picture(points: Sequence[Point], onset: int | None = None) -> bytes:
    """The PNG; empty where fewer than two batches have a finite loss."""
    finite = [loss for _, loss in points if _drawn(loss)]
    if len(finite) < 2:
        return b""
    low, middle = min(finite), median(finite)
    clip = middle + max((CLIP_MEDIANS - 1) * abs(middle), middle - low)
    high = max(loss for loss in finite if loss <= clip)
    canvas = [bytearray(WIDTH) for _ in range(HEIGHT)]
    _frame(canvas, low, high)
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    if onset is not None and first <= onset <= last:
        _upright(canvas, _column(onset, first, last), BORDER, HEIGHT - BORDER, RED)
    _curve(canvas, points, (first, last), (low, high))
    return png(canvas)


def png(rows: Sequence[bytes | bytearray]) -> bytes:
    """Rows of palette indexes as a PNG."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    parts = ((b"IHDR", header), (b"PLTE", COLOURS), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _drawn(loss: float | None) -> TypeGuard[float]:
    """False for what is not finite, and for what is so large that its differences are not."""
    return loss is not None and abs(loss) < HUGE


def _frame(canvas: list[bytearray], low: float, high: float) -> None:
    for y, level in ((BORDER, high), (HEIGHT - BORDER, low)):
        canvas[y][BORDER : WIDTH - BORDER] = bytes([GREY]) * (WIDTH - 2 * BORDER)
        _write(canvas, number(level), BORDER, y - 14)


def _curve(
    canvas: list[bytearray], points: Sequence[Point], batches: tuple[int, int], levels: tuple[float, float]
) -> None:
    (low, high), before = levels, None
    for count, loss in points:
        x = _column(count, *batches)
        if not _drawn(loss):
            _upright(canvas, x, HEIGHT - BORDER + 4, HEIGHT - BORDER + 16, RED)
            before = None
            continue
        share = (min(loss, high) - low) / ((high - low) or 1.0)
        y = round(HEIGHT - BORDER - share * (HEIGHT - 2 * BORDER))
        _line(canvas, before or (x, y), (x, y))
        before = (x, y)


def _line(canvas: list[bytearray], start: tuple[int, int], end: tuple[int, int]) -> None:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(steps + 1):
        x = start[0] + (end[0] - start[0]) * step // steps
        y = start[1] + (end[1] - start[1]) * step // steps
        canvas[y][x : x + 2] = bytes([BLUE, BLUE])


def _upright(canvas: list[bytearray], x: int, top: int, bottom: int, colour: int) -> None:
    for y in range(top, bottom):
        canvas[y][x] = colour


def _column(count: int, first: int, last: int) -> int:
    return BORDER + (count - first) * (WIDTH - 2 * BORDER - 2) // (last - first)


def _write(canvas: list[bytearray], text: str, left: int, top: int) -> None:
    for place, character in enumerate(text):
        for y, row in enumerate(GLYPHS.get(character, "00000")):
            for x in range(3):
                if int(row) & 4 >> x:
                    _dot(canvas, left + SCALE * (4 * place + x), top + SCALE * y)


def _dot(canvas: list[bytearray], left: int, top: int) -> None:
    for y in range(top, top + SCALE):
        canvas[y][left : left + SCALE] = bytes([BLACK]) * SCALE
