"""Silences and pictures at their limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from alerts.alert import PICTURE_BYTES_MAX, decode, encode
from monitor.core.drive import Driver
from monitor.core.model import SilenceSet, Tick
from monitor.core.state.silences import KEPT_S, SILENCES_MAX
from monitor.daemon.api.alert_routes import MATCHERS_MAX, SILENCE_S_MAX, TEXT_MAX, SilenceWanted
from monitor.daemon.api.endpoint import decoded
from tests.harness.alerts import alert


def silence(number: int, until_s: float) -> SilenceSet:
    return SilenceSet(f"s{number}", (), 0.0, until_s, "ana")


def test_so_many_silences_are_kept_and_the_one_that_ends_first_leaves() -> None:
    driver = Driver()
    for number in range(SILENCES_MAX + 1):
        driver.feed(silence(number, 1000.0 + number), 1.0)
    known = driver.core.fleet.silences
    assert len(known) == SILENCES_MAX
    assert "s0" not in known


def test_a_silence_is_forgotten_some_days_after_its_end() -> None:
    driver = Driver()
    driver.feed(silence(1, 10.0), 1.0)
    driver.feed(Tick(), 10.0 + KEPT_S)
    assert driver.core.fleet.silences
    driver.feed(Tick(), 11.0 + KEPT_S)
    assert not driver.core.fleet.silences


@pytest.mark.parametrize(
    ("field", "most", "over"),
    [
        ("match", ["run=a"] * MATCHERS_MAX, ["run=a"] * (MATCHERS_MAX + 1)),
        ("for_s", SILENCE_S_MAX, SILENCE_S_MAX + 1),
        ("by", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
        ("comment", "x" * TEXT_MAX, "x" * (TEXT_MAX + 1)),
    ],
)
def test_a_silence_over_a_limit_is_refused(field: str, most: Any, over: Any) -> None:
    plain = {"match": [], "for_s": 60}
    assert decoded("/", msgspec.json.encode({**plain, field: most}), SilenceWanted)
    with pytest.raises(Exception, match="the body is not an input") as caught:
        decoded("/", msgspec.json.encode({**plain, field: over}), SilenceWanted)
    assert getattr(caught.value, "status_code", None) == 400


def test_a_picture_has_so_many_bytes_at_most() -> None:
    most = msgspec.structs.replace(alert("a"), picture=b"x" * PICTURE_BYTES_MAX)
    assert decode(encode(most)) == most
    with pytest.raises(ValueError, match="draw a smaller one"):
        msgspec.structs.replace(alert("a"), picture=b"x" * (PICTURE_BYTES_MAX + 1))
