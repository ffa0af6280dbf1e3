"""The limits of what is read from logs and policy files."""

from __future__ import annotations

import gzip
import io
import json
import struct
from functools import partial

import pytest

from monitor.policyfile.load import DEPTH_MAX as POLICY_DEPTH_MAX
from monitor.policyfile.load import NODES_MAX, POLICY_CHARS_MAX, PolicyFileError, policy_from_text
from monitor.policyfile.messages import VALUE_CHARS_MAX
from monitor.recorded.importers import read_log
from monitor.recorded.importers.assemble import PARTS_MAX
from monitor.recorded.importers.content import LOG_BYTES_MAX, Content
from monitor.recorded.importers.documents import DEPTH_MAX, flat
from monitor.recorded.importers.imported_run import UnreadableLog
from monitor.recorded.importers.row_builder import WHOLE_MAX
from monitor.recorded.importers.tensorboard import CHECKED_BYTES_MAX, SKIPPED_BYTES_MAX, masked_crc
from monitor.recorded.importers.text_lines import LINE_CHARS_MAX
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
