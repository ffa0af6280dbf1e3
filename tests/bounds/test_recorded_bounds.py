"""The limits of what is read from logs and policy files."""

from __future__ import annotations

import gzip
import io
import json
import struct
from functools import partial

import pytest

from monitor.core.model import Position
from monitor.policyfile.load import DEPTH_MAX as POLICY_DEPTH_MAX
from monitor.policyfile.load import NODES_MAX, POLICY_CHARS_MAX, PolicyFileError, policy_from_text
from monitor.policyfile.messages import VALUE_CHARS_MAX
from monitor.recorded.backtest.row_index import RECENT_ROWS_MAX, RowIndex
from monitor.recorded.importers import read_log, recognise
from monitor.recorded.importers.ahead import AHEAD_SAMPLES_MAX, BEHIND_PLACES_MAX, Ahead, others_write
from monitor.recorded.importers.assemble import PARTS_MAX
from monitor.recorded.importers.content import LOG_BYTES_MAX, Content
from monitor.recorded.importers.documents import DEPTH_MAX, flat
from monitor.recorded.importers.imported_run import Row, UnreadableLog
from monitor.recorded.importers.row_builder import WHOLE_MAX
from monitor.recorded.importers.tables import HEADER_LINES_MAX, NAME_CHARS_MAX, QUOTED_LINES_MAX
from monitor.recorded.importers.tensorboard import CHECKED_BYTES_MAX, SKIPPED_BYTES_MAX, masked_crc
from monitor.recorded.importers.text_lines import HEADING_CHARS_MAX, LINE_CHARS_MAX
from monitor.supervisor.run_documents import NAME_MAX, new_run_id
from tests.unit.monitor.importers.test_tensorboard import FILE, record


def test_a_log_over_its_size_is_refused() -> None:
    """Unpacked: a small gzip file may hold any number of zeros."""
    assert LOG_BYTES_MAX == 512 * 1024 * 1024
    lines = b"step,loss\n" + b"1,2.5\n" * 165
    assert len(read_log(Content(partial(io.BytesIO, lines), 1000), "x.csv").rows) == 165
    more = lines + b"2,2.5\n"
    for data in (more, gzip.compress(more), b'{"loss": [1.0, 2.0' + b" " * 1000 + b"]}"):
        with pytest.raises(UnreadableLog, match="more than 1000 bytes, which is the limit: split it"):
            read_log(Content(partial(io.BytesIO, data), 1000), "x.csv")


def test_a_header_is_looked_for_in_the_first_lines() -> None:
    table = "step,loss\n1,2.5\n2,2.4\n3,2.3\n"
    for lines, kind in ((HEADER_LINES_MAX - 1, "csv"), (HEADER_LINES_MAX, "text")):
        assert recognise(("Started worker\n" * lines + table).encode(), "x").kind == kind


def test_a_name_of_a_column_has_a_length() -> None:
    for length, kind in ((NAME_CHARS_MAX - 1, "csv"), (NAME_CHARS_MAX, "text")):
        assert recognise(f"{'n' * length},loss\n1,2.5\n2,2.4\n".encode(), "x").kind == kind


def test_a_quoted_cell_goes_over_a_number_of_lines() -> None:
    """One whose quote is never closed must not take the rest of the file."""

    def rows(lines: int, end: str) -> list[float | None]:
        text = 'step,loss,note\n1,2.5,a\n2,2.4,"' + "line\n" * lines + end + "3,2.3,b\n"
        return [row.loss for row in read_log(text.encode(), "x.csv").rows]

    assert rows(QUOTED_LINES_MAX, '"\n') == [2.5, 2.4, 2.3]
    assert rows(QUOTED_LINES_MAX + 1, "")[-1] == 2.3


def test_a_heading_is_a_short_line() -> None:
    """A long line that happens to name an epoch is none."""
    for length, epoch in ((HEADING_CHARS_MAX, 7), (HEADING_CHARS_MAX + 1, 1)):
        text = "iter 1 loss 2.5\n" + "Epoch 7/9 ".ljust(length, ".") + "\niter 2 loss 2.4\n"
        assert read_log(text.encode(), "x.log").rows[-1].epoch == epoch


def test_a_look_ahead_has_an_end() -> None:
    """A gap that is longer than what may be looked at is never said to be a loss that is gone."""
    ahead = Ahead((number, {"step": float(number)}) for number in range(2 * AHEAD_SAMPLES_MAX))
    assert sum(1 for _ in ahead.peek(10 * AHEAD_SAMPLES_MAX)) == AHEAD_SAMPLES_MAX
    assert [number for number, _ in ahead] == list(range(2 * AHEAD_SAMPLES_MAX)), "what was looked at still comes"


def test_a_writer_that_is_further_behind_is_a_restart() -> None:
    for behind, others in ((BEHIND_PLACES_MAX, True), (BEHIND_PLACES_MAX + 1, False)):
        tops = [(0.0, float(step)) for step in range(10)]
        places = [(0.0, float(step)) for step in (9 - behind, 9, 9 - behind, 10, 9, 11, 10, 12)]
        assert others_write(places, tops, known=False) is others


def test_a_finding_of_a_row_that_is_long_past_names_the_last_one() -> None:
    index = RowIndex()
    for number in range(RECENT_ROWS_MAX + 1):
        index.add(Row(index=number, line=number + 1, generation=1, epoch=1, batch=number, step=number), number + 1)
    newest, oldest, past = (Position(1, 1, 0, count) for count in (RECENT_ROWS_MAX + 1, 2, 1))
    assert (index.row(newest).step, index.row(oldest).step) == (RECENT_ROWS_MAX, 1)
    assert (index.row(past).step, index.index(past)) == (RECENT_ROWS_MAX, 0)


def test_components_of_the_loss_beyond_the_limit_are_passed_over() -> None:
    names = [f"train/{number:03}_loss" for number in range(PARTS_MAX + 6)]
    text = ",".join(["epoch", *names]) + "\n" + ",".join(["1", *["0.5"] * len(names)]) + "\n"
    run = read_log(text.encode(), "x.csv")
    assert len(run.part_names) == PARTS_MAX
    assert run.rows[0].loss == pytest.approx(0.5 * PARTS_MAX)


def test_keys_within_keys_are_followed_to_a_depth() -> None:
    def nested(levels: int) -> dict[str, object]:
        value: dict[str, object] = {"loss": 1.0}
        for _ in range(levels):
            value = {"a": value}
        return value

    assert flat(nested(DEPTH_MAX)) == {"a/" * DEPTH_MAX + "loss": 1.0}
    assert flat(nested(DEPTH_MAX + 1)) == {}


def test_a_line_longer_than_any_training_line_is_passed_over() -> None:
    line = "step 3 loss 1.5 "
    long = line + "x" * (LINE_CHARS_MAX + 1 - len(line))
    text = f"step 1 loss 2.5\n{long}\n{long[:-1]}\n"
    assert [row.step for row in read_log(text.encode(), "x.log").rows] == [1, 3]


def test_a_number_too_large_to_be_a_step_is_none() -> None:
    text = "".join(json.dumps({"step": step, "loss": 2.0}) + "\n" for step in (int(WHOLE_MAX) - 2, int(WHOLE_MAX)))
    rows = read_log(text.encode(), "x.jsonl").rows
    assert rows[0].step == int(WHOLE_MAX) - 2
    assert rows[1].step == 1, "the row's own number stands in"


@pytest.mark.parametrize(("size", "checked"), [(CHECKED_BYTES_MAX, True), (CHECKED_BYTES_MAX + 1, False)])
def test_large_records_of_tensorboard_are_read_without_their_checksum(size: int, checked: bool) -> None:
    """They are pictures: their checksum in Python costs seconds, and nothing of them is used."""
    head = b"\x1a"  # file_version, a field that is passed over
    length = size - 1 - 3
    payload = head + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + bytes(length)
    assert len(payload) == size
    whole = record(payload)
    damaged = FILE + whole[:-1] + bytes([whole[-1] ^ 1])
    if checked:
        with pytest.raises(UnreadableLog, match="checksum of the data"):
            read_log(damaged, "events")
    else:
        assert len(read_log(damaged, "events").rows) == 3


def test_records_of_tensorboard_beyond_the_limit_are_skipped_unread() -> None:
    """Their bytes are no event at all, and nobody notices."""
    length = struct.pack("<Q", SKIPPED_BYTES_MAX + 1)
    head = length + struct.pack("<I", masked_crc(length))
    assert len(read_log(FILE + head + b"\xff" * (SKIPPED_BYTES_MAX + 1) + bytes(4), "events").rows) == 3


def test_a_policy_over_its_size_is_refused() -> None:
    with pytest.raises(PolicyFileError, match=f"{POLICY_CHARS_MAX}"):
        policy_from_text("#" * (POLICY_CHARS_MAX + 1), "p.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * (POLICY_DEPTH_MAX + 1) + "]" * (POLICY_DEPTH_MAX + 1),
        f"a: [{'1, ' * NODES_MAX}1]",
        "a: &a [" + "1, " * 25 + "1]\nb: &b [" + "*a, " * 25 + "*a]\nc: [" + "*b, " * 25 + "*b]\n",
    ],
    ids=["deep", "long", "aliases"],
)
def test_a_policy_that_nests_or_repeats_itself_without_end_is_refused(text: str) -> None:
    with pytest.raises(PolicyFileError, match="nested too deep or repeats itself"):
        policy_from_text(text, "p.yaml")


def test_a_wrong_value_is_shown_in_short() -> None:
    with pytest.raises(PolicyFileError) as refused:
        policy_from_text(f"version: 1\nact: {'y' * 3 * VALUE_CHARS_MAX}\n", "p.yaml")
    assert "y" * (VALUE_CHARS_MAX - 1) in str(refused.value)
    assert "y" * VALUE_CHARS_MAX not in str(refused.value)


def test_a_title_becomes_a_short_part_of_a_runs_id() -> None:
    assert new_run_id("T" * 2 * NAME_MAX, ()).startswith("t" * NAME_MAX + "-")
