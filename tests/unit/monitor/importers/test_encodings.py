"""The same log in other bytes: marks, wide characters, packed, cut."""

from __future__ import annotations

import codecs
import gzip
import math

import pytest

from monitor.recorded.importers import read_log
from monitor.recorded.importers.content import BLOCK_BYTES, LINE_BYTES_MAX, Content
from monitor.recorded.importers.imported_run import NotALog, Role, UnreadableLog

TEXT = "step,loss\n" + "".join(f"{i},{'nan' if i >= 200 else 2.5 - i / 100}\n" for i in range(400))
PRINTED = "".join(f"step {i} loss {'nan' if i >= 200 else 2.5 - i / 100}\r\n" for i in range(400))


@pytest.mark.parametrize("text", [TEXT, PRINTED])
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: gzip.compress(text.encode()),
        lambda text: gzip.compress(text.encode("utf-16")),
        lambda text: text.replace("\r\n", "\n").replace("\n", "\r").encode(),
    ],
    ids=[
        "plain",
        "mark",
        "utf-16",
        "big-endian",
        "no mark",
        "big-endian, no mark",
        "gzip",
        "gzip of utf-16",
        "returns",
    ],
)
def test_the_bytes_change_nothing(encode: object, text: str) -> None:
    assert callable(encode)
    run = read_log(encode(text), "x.log")
    assert len(run.rows) == 400
    assert [row.index for row in run.rows if row.nonfinite] == list(range(200, 400))
    assert [row.step for row in run.rows] == list(range(400))


def test_a_gzip_file_that_ends_early_is_read_as_far_as_it_goes() -> None:
    """A training that was killed leaves one."""
    data = gzip.compress(TEXT.encode(), compresslevel=1)
    run = read_log(data[: len(data) * 3 // 4], "x.csv.gz")
    assert 100 < len(run.rows) < 400


def test_a_damaged_gzip_file_is_refused_with_what_to_do() -> None:
    data = bytearray(gzip.compress(TEXT.encode()))
    data[20:40] = bytes(20)
    with pytest.raises(UnreadableLog, match=r"x\.gz: is a gzip file that is damaged .*; unpack or copy it again"):
        read_log(bytes(data), "x.gz")


def test_lines_are_whole_across_the_blocks_in_which_they_are_read() -> None:
    line = b"x" * 997 + b"\r\n"
    count = 3 * BLOCK_BYTES // len(line)
    assert set(Content.of(line * count).lines()) == {b"x" * 997}
    assert sum(1 for _ in Content.of(line * count).lines()) == count


def test_a_line_without_end_is_read_in_pieces() -> None:
    pieces = list(Content.of(b"x" * (LINE_BYTES_MAX + 2 * BLOCK_BYTES)).lines())
    assert len(pieces) == 2
    assert max(map(len, pieces)) <= LINE_BYTES_MAX + BLOCK_BYTES


def test_a_table_without_a_header_goes_by_the_numbers_of_its_columns() -> None:
    text = "0 2.5\n1 2.4\n2 nan\n"
    with pytest.raises(NotALog, match=r"\(found: 0, 1\); name it with --map loss=1"):
        read_log(text.encode(), "x.txt")
    run = read_log(text.encode(), "x.txt", {"1": Role.LOSS, "0": Role.STEP})
    assert [(row.step, row.nonfinite) for row in run.rows] == [(0, 0), (1, 0), (2, 1)]


def test_one_number_a_line_is_named_by_its_place() -> None:
    run = read_log(b"2.5\n2.4\n2.3\n", "x.txt", {"0": Role.LOSS})
    assert [row.loss for row in run.rows] == [2.5, 2.4, 2.3]


def test_a_decimal_comma_is_a_point() -> None:
    run = read_log(b"step;loss;lr\n1;2,5;1e-3\n2;2,4;0,001\n3;-nan(ind);0\n", "x.csv")
    assert [row.loss for row in run.rows][:2] == [2.5, 2.4]
    assert math.isnan(run.rows[2].loss or 0.0)
    assert run.rows[1].learning_rates == (0.001,)


@pytest.mark.parametrize(
    "above", ["sep=;\n", "# written by a spreadsheet\n", "\n\n", "Training started\nwith 3 workers\n"]
)
def test_what_stands_above_the_header_is_passed_over(above: str) -> None:
    run = read_log((above + "step;loss\n1;2.5\n2;2.4\n3;2.3\n").encode(), "x.csv")
    assert [(row.step, row.loss) for row in run.rows] == [(1, 2.5), (2, 2.4), (3, 2.3)]


def test_a_quoted_cell_may_hold_line_ends_and_delimiters() -> None:
    run = read_log(b'step,note,loss\n1,"a, ""b""\nc",2.5\n2,"",2.4\n', "x.csv")
    assert [(row.step, row.loss) for row in run.rows] == [(1, 2.5), (2, 2.4)]
