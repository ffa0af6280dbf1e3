"""The picture of the loss curve is a PNG that any program reads, and small whatever the losses are."""

from __future__ import annotations

import math
import random
import struct
import zlib

import pytest

from alerts.alert import PICTURE_BYTES_MAX
from monitor.report.loss_picture import BLUE, BORDER, HEIGHT, RED, WHITE, WIDTH, Point, loss_picture

SEED = 7


def rows_of(picture: bytes) -> list[bytes]:
    """The palette indexes of a PNG, with every checksum checked."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    place, data = 8, b""
    while place < len(picture):
        (length,) = struct.unpack_from(">I", picture, place)
        kind, body = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", picture, place + 8 + length) == (zlib.crc32(kind + body),)
        data += body if kind == b"IDAT" else b""
        place += 12 + length
    raw = zlib.decompress(data)
    return [raw[y * (WIDTH + 1) + 1 : (y + 1) * (WIDTH + 1)] for y in range(HEIGHT)]


def columns_of(rows: list[bytes], colour: int) -> set[int]:
    return {x for row in rows for x, value in enumerate(row) if value == colour}


def test_a_falling_loss_goes_from_the_upper_left_to_the_lower_right() -> None:
    rows = rows_of(loss_picture([(n, 10.0 - n) for n in range(10)]))
    top = [x for x, value in enumerate(rows[BORDER]) if value == BLUE]
    bottom = [x for x, value in enumerate(rows[HEIGHT - BORDER]) if value == BLUE]
    assert max(top) < 60
    assert min(bottom) > WIDTH - 60


def test_bad_batches_and_the_onset_are_red_where_they_were() -> None:
    points: list[Point] = [(n, 2.0 + n % 3 if n < 80 else math.nan) for n in range(100)]
    rows = rows_of(loss_picture(points, onset=50))
    red = columns_of(rows, RED)
    middle = {x for x in red if abs(x - WIDTH // 2) < 5}
    assert len(middle) == 1
    assert all(x > WIDTH * 0.75 for x in red - middle)
    assert len(red - middle) == 20


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(1, math.nan), (2, None), (3, math.inf)]])
def test_too_few_losses_make_no_picture(points: list[Point]) -> None:
    assert loss_picture(points) == b""


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e19, 1e308, -5.0])
def test_no_losses_make_a_picture_that_is_too_large_or_none_at_all(scale: float) -> None:
    draw = random.Random(SEED)
    points: list[Point] = [(n, draw.choice([scale * draw.random(), draw.random(), None])) for n in range(5000)]
    picture = loss_picture(points, onset=2500)
    assert len(picture) < PICTURE_BYTES_MAX / 5
    assert columns_of(rows_of(picture), WHITE) == set(range(WIDTH))
