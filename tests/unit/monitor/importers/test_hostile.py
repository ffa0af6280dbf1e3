"""No bytes whatever make an importer raise anything but the named error, or the core stumble over what was read."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.policy.settings import Policy
from monitor.recorded.backtest import backtest
from monitor.recorded.importers import read_log
from monitor.recorded.importers.imported_run import ImportedRun, UnreadableLog
from tests.unit.monitor.importers import texts

TEXTS = st.sampled_from([text for text, _, _ in texts.ALL.values()])
NUMBER = re.compile(r"\d+\.\d+")
ODD = [
    "1e400",
    "-1e308",
    "nan",
    "-inf",
    "0",
    "1e-320",
    "99999999999999999999999",
    '"x"',
    "",
    "[1]",
    "{}",
    "null",
    "\x00",
]


def read(data: bytes) -> ImportedRun | None:
    try:
        return read_log(data, "f.log")
    except UnreadableLog:
        return None


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    run = read(data)
    assert run is None or run.rows


@given(TEXTS, st.integers(0, 3000), st.integers(0, 60), st.text(max_size=8))
def test_a_log_with_a_piece_replaced_is_refused_or_read(text: str, at: int, size: int, by: str) -> None:
    run = read((text[:at] + by + text[at + size :]).encode("utf-8", "surrogatepass"))
    assert run is None or all(row.epoch >= 1 and row.batch >= 0 for row in run.rows)


@given(TEXTS, st.lists(st.sampled_from(ODD), min_size=1, max_size=6))
def test_odd_numbers_never_trouble_the_core(text: str, odd: list[str]) -> None:
    """Every number in turn is one of the odd ones; the core must take what comes out without a defect."""
    count = iter(range(10**9))
    run = read(NUMBER.sub(lambda _: odd[next(count) % len(odd)], text).encode())
    if run is not None:
        result = backtest(run, Policy())
        assert result.rows == len(run.rows)
        assert result.defects == 0
