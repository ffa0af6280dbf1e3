from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_hooks.sanitize import EVENT_BYTES_MAX, fit
from trainer_hooks.wire.codec import TEXT_MAX, WireError, decode_downlink, decode_frame, encode
from trainer_hooks.wire.messages import (
    PROTOCOL,
    EpochEnded,
    EventSent,
    Frame,
    HookTrouble,
    NonfiniteSeen,
    Sender,
    TrainingEnded,
)


def evidence(samples: tuple[str, ...]) -> NonfiniteSeen:
    return NonfiniteSeen(1.0, 4, 32, 1, None, (), None, True, samples, False, "")


def test_texts_are_cut_to_the_limit_of_the_wire() -> None:
    body = fit(HookTrouble(1.0, "batch", "x" * 100_000, False))
    assert isinstance(body, HookTrouble)
    assert len(body.error) == TEXT_MAX


def test_a_file_name_that_is_no_unicode_can_be_sent() -> None:
    body = fit(evidence(("img-\udce9.jpg", "ümlaut.jpg")))
    assert isinstance(body, NonfiniteSeen)
    assert body.samples == ("img-\\udce9.jpg", "ümlaut.jpg")


def test_many_long_texts_are_cut_further_until_the_event_fits() -> None:
    samples = tuple(f"{number:04d}" + "x" * 3000 for number in range(200))
    body = fit(evidence(samples))
    assert isinstance(body, NonfiniteSeen)
    assert [sample[:4] for sample in body.samples] == [sample[:4] for sample in samples]
    assert len(encode(Frame(PROTOCOL, Sender("r", 1, 0, "n"), 0, (EventSent(1, body),)))) <= EVENT_BYTES_MAX + 100


def test_numbers_of_numpy_become_plain_ones() -> None:
    metrics: dict[str, Any] = {"map50": np.float32(0.5), "fitness": np.float64(0.25), "seen": np.int64(3)}
    body = fit(EpochEnded(1.0, 4, 10.0, (), metrics, None))
    assert isinstance(body, EpochEnded)
    assert body.metrics == {"map50": 0.5, "fitness": 0.25, "seen": 3.0}


def test_what_a_daemon_would_refuse_is_replaced_by_what_was_wrong_with_it() -> None:
    """It would be refused for ever, and every event behind it would wait."""
    body = fit(TrainingEnded(1.0, "finished", Decimal(1), "four", {}))  # type: ignore[arg-type]
    assert isinstance(body, HookTrouble)
    assert "TrainingEnded can't be sent" in body.error


def test_an_event_of_endless_texts_is_replaced_too() -> None:
    body = fit(evidence(tuple("x" * 64 for _ in range(10_000))))
    assert isinstance(body, HookTrouble)
    assert str(EVENT_BYTES_MAX) in body.error


def test_what_changes_after_the_event_was_sent_changes_nothing_in_it() -> None:
    metrics = {"map50": 0.5}
    body = fit(EpochEnded(1.0, 4, 10.0, (), metrics, None))
    metrics["map50"] = 0.0
    assert isinstance(body, EpochEnded)
    assert body.metrics == {"map50": 0.5}


_FRAME = encode(Frame(PROTOCOL, Sender("night", 1, 0, "n"), 0, (EventSent(1, HookTrouble(1.0, "a", "b", False)),)))


def message_or_error(decode: Any, data: bytes) -> Any:
    """The message, or the WireError; anything else is raised and fails the test."""
    try:
        return decode(data)
    except WireError as error:
        return error


@given(st.binary(max_size=300))
@pytest.mark.parametrize("decode", [decode_frame, decode_downlink])
def test_any_bytes_are_a_message_or_a_wire_error(decode: Any, data: bytes) -> None:
    result = message_or_error(decode, data)
    assert str(result) if isinstance(result, WireError) else encode(result)


@given(st.integers(0, len(_FRAME) - 1), st.integers(0, 255), st.integers(0, len(_FRAME)))
def test_a_damaged_frame_is_a_message_or_a_wire_error(at: int, value: int, end: int) -> None:
    data = bytearray(_FRAME)
    data[at] = value
    result = message_or_error(decode_frame, bytes(data[:end]))
    assert str(result) if isinstance(result, WireError) else result.protocol == PROTOCOL
