"""What was recorded is what is read back, whatever the values: a stream loses nothing."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.recorded.stream import (
    Recorded,
    StreamError,
    header_line,
    is_stream,
    read_stream,
    record_line,
    stream_bytes,
)
from trainer_hooks.wire.messages import BatchEnded, Counts, EpochEnded, Event

WHOLE = st.integers(-(2**63), 2**63 - 1)  # what the wire can carry
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.floats()
VALUES = {
    "float": NUMBER,
    "int": WHOLE,
    "str": TEXT,
    "bool": st.booleans(),
    "float | None": st.none() | NUMBER,
    "int | None": st.none() | WHOLE,
    "tuple[float, ...]": st.lists(NUMBER, max_size=4).map(tuple),
    "tuple[str, ...]": st.lists(TEXT, max_size=4).map(tuple),
    "dict[str, float]": st.dictionaries(TEXT, NUMBER, max_size=3),
    "dict[str, str]": st.dictionaries(TEXT, TEXT, max_size=3),
}
COUNTS = st.builds(Counts, *(WHOLE for _ in Counts.__struct_fields__))


def any_of(message: type) -> st.SearchStrategy[object]:
    kinds = {name: str(kind) for name, kind in message.__annotations__.items()}
    return st.builds(message, **{name: COUNTS if kind == "Counts" else VALUES[kind] for name, kind in kinds.items()})


RECORDS = st.one_of(st.none(), any_of(BatchEnded), *(any_of(event) for event in get_args(Event)))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(RECORDS, st.integers(1, 9), st.integers(0, 4096)), max_size=4), TEXT)
def test_a_stream_is_read_back_as_it_was_written(told: list[tuple[object, int, int]], title: str) -> None:
    """Compared by repr: NaN is not equal to itself, and 0.0 is equal to -0.0."""
    records = [Recorded(float(at), record, *whose) for at, (record, *whose) in enumerate(told)]  # type: ignore[arg-type]
    stream = read_stream(stream_bytes(records, title, {"seed": "7"}))
    assert repr(stream.records) == repr(records)
    assert (stream.header.title, stream.header.about, stream.truncated) == (title, {"seed": "7"}, "")


def test_fields_go_by_name_and_defaults_are_left_out() -> None:
    batch = BatchEnded(1.5, 0.5, 1, 0, 10, Counts(batches=1, steps=1), loss=float("nan"))
    assert record_line(Recorded(1.5, batch)) == (
        b'{"at_s":1.5,"generation":1,"rank":0,"batch":{"wall_s":1.5,"sent_s":0.5,"epoch":1,"batch":0,'
        b'"batches_per_epoch":10,"counts":{"batches":1,"steps":1},"loss":"nan"}}\n'
    )
    ended = EpochEnded(2.0, 1, 0.5, (), {"mAP": float("inf")}, None)
    assert b'"event":{"type":"epoch_ended","wall_s":2.0' in record_line(Recorded(2.0, ended))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            b'{"at_s": 1, "batch": {"los": 1}}',
            r"line 2 is not a record of a stream \(Object contains unknown field `los`",
        ),
        (b'{"at_s": 1, "event": {"type": "party"}}', "Invalid value 'party'"),
        (b'{"generation": 1}', "missing required field `at_s`"),
        (b'{"at_s": "nan"}', "line 2: at_s is nan"),
        (b"\xff", "line 2 is not a record"),
    ],
)
def test_a_line_that_is_no_record_is_named(line: bytes, said: str) -> None:
    with pytest.raises(StreamError, match=said):
        read_stream(header_line() + line + b'\n{"at_s": 1}\n')


def test_time_that_goes_back_is_refused() -> None:
    with pytest.raises(StreamError, match=r"line 3: at_s is 1\.0; write the lines in the order of their time"):
        read_stream(header_line() + b'{"at_s": 2}\n{"at_s": 1}\n')


def test_another_version_is_refused() -> None:
    with pytest.raises(StreamError, match="version 2; this trainwarden reads 1"):
        read_stream(b'{"trainwarden_stream": 2}\n')


def test_a_line_that_was_still_being_written_is_left_out() -> None:
    whole = stream_bytes([Recorded(1.0), Recorded(2.0)])
    stream = read_stream(whole[:-9])
    assert (len(stream.records), stream.truncated) == (1, "line 3 ends in the middle")


def test_a_stream_is_known_by_its_first_line() -> None:
    assert is_stream(header_line("night"))
    assert not is_stream(b'{"loss": 1}\n' + header_line())
