"""How numbers and times are written for people."""

from __future__ import annotations

import pytest

from monitor.core.format import about, duration, plural, size, when
from monitor.report.text import ROWS_MAX, safe, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (58.4, "58 s"),
        (65, "1 min 5 s"),
        (725.0, "12 min 5 s"),
        (17604.0, "4 h 53 min"),
        (829_440.0, "9.6 days"),
    ],
)
def test_a_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_time_says_its_zone() -> None:
    assert when(1_763_452_800.0) == "2025-11-18 08:00:00 UTC"
    assert when(float("inf")) == "an impossible time"


def test_a_projection_shows_two_digits() -> None:
    assert about(398) == "400"
    assert about(18_637) == "19,000"
    assert about(0) == "0"


def test_a_text_is_cut_before_it_is_escaped_so_that_no_escape_is_halved() -> None:
    assert safe("<" * 1000, 10) == "&lt;" * 9 + "…"


def test_an_underscore_within_a_word_stays_readable() -> None:
    assert safe("model.0.bn.running_var") == "model.0.bn.running_var"
    assert safe("_emphasis_") == r"\_emphasis\_"


def test_a_long_table_keeps_its_first_and_last_rows() -> None:
    lines = table(["n"], [[str(n)] for n in range(1000)])
    assert len(lines) == ROWS_MAX + 3
    assert lines[2] == "| 0 |"
    assert lines[-1] == "| 999 |"


def test_counts_and_sizes_agree_with_their_nouns() -> None:
    assert plural(1, "batch") == "1 batch"
    assert plural(7550, "batch") == "7,550 batches"
    assert plural(2, "step") == "2 steps"
    assert size(int(4.71 * 2**30)) == "4.71 GiB"
    assert size(None) == "-"
