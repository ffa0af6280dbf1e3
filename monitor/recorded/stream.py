"""A recorded stream: what the hooks of a training sent, as JSON lines that any program can write and read. Pure.

The first line is the header, `{"trainwarden_stream": 1, ...}`. Every other line is one record, its fields by name:
`{"at_s": 12.5, "generation": 1, "rank": 0, "batch": {...}}`, or `"event": {"type": "epoch_ended", ...}` in its place,
or neither, which says only that time has passed. A field at its default may be left out. JSON has no word for a number
that is not finite: it is the text "nan", "inf" or "-inf".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import reduce
from operator import attrgetter, or_
from typing import Any, get_args

import msgspec

from trainer_hooks.wire.messages import BatchEnded, Counts, Event

VERSION = 1
FIRST_KEY = b'"trainwarden_stream"'  # in the first line of every stream, and of nothing else
FIRST_LINE_BYTES_MAX = 64 * 1024
NONFINITE_TEXT = {math.inf: "inf", -math.inf: "-inf"}


class StreamError(Exception):
    """A stream can't be read: which line, what is wrong with it, and the remedy."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The first line."""

    trainwarden_stream: int
    title: str = ""
    about: dict[str, str] = {}  # for people and benches: "label", "onset" (a batch of rank 0, from 0), "seed", ...


class Recorded(msgspec.Struct, frozen=True):
    """One line: what arrived, when, and from whom."""

    at_s: float  # on a clock that never goes back: Unix time, or seconds since the start
    record: BatchEnded | Event | None = None  # None: nothing arrived, time has passed
    generation: int = 1  # of the run, from 1
    rank: int = 0


class Stream(msgspec.Struct, frozen=True):
    """A whole file."""

    header: Header
    records: list[Recorded]
    truncated: str = ""  # why the last line was left out; empty: it was not


def header_line(title: str = "", about: dict[str, str] | None = None) -> bytes:
    """The first line of a file, newline included."""
    return msgspec.json.encode(Header(VERSION, title, about or {})) + b"\n"


def record_line(recorded: Recorded) -> bytes:
    """One record as a line, newline included."""
    line: dict[str, Any] = {"at_s": recorded.at_s, "generation": recorded.generation, "rank": recorded.rank}
    if isinstance(recorded.record, BatchEnded):
        line["batch"] = _plain(recorded.record)
    elif recorded.record is not None:
        line["event"] = {"type": _tag(type(recorded.record)), **_plain(recorded.record)}
    return msgspec.json.encode(line) + b"\n"


def stream_bytes(records: Iterable[Recorded], title: str = "", about: dict[str, str] | None = None) -> bytes:
    """A whole file. One that is too large for memory is written line by line with the two functions above."""
    return header_line(title, about) + b"".join(map(record_line, records))


def is_stream(head: bytes) -> bool:
    """True for bytes that begin like a stream."""
    return FIRST_KEY in head[:FIRST_LINE_BYTES_MAX].partition(b"\n")[0]


def read_stream(data: bytes) -> Stream:
    """Header and records. A last line without its newline that can't be read is left out: it was being written.

    Raises:
        StreamError: a line is not a record, or of another version, or time goes back.
    """
    first, _, rest = data.partition(b"\n")
    header = _header(first)
    records: list[Recorded] = []
    for number, line in enumerate(rest.split(b"\n"), 2):
        if not line.strip():
            continue
        try:
            recorded = _recorded(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number == 2 + rest.count(b"\n"):
                return Stream(header, records, f"line {number} ends in the middle")
            raise StreamError(f"line {number} is not a record of a stream ({error}); correct or remove it") from error
        if (records and recorded.at_s < records[-1].at_s) or not math.isfinite(recorded.at_s):
            raise StreamError(f"line {number}: at_s is {recorded.at_s}; write the lines in the order of their time")
        records.append(recorded)
    return Stream(header, records)


def _header(line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StreamError(f"line 1 is not the header of a stream ({error})") from error
    if header.trainwarden_stream != VERSION:
        raise StreamError(f"is a stream of version {header.trainwarden_stream}; this trainwarden reads {VERSION}")
    return header


def _recorded(line: bytes) -> Recorded:
    # Not strict: that is what turns the texts "nan" and "inf" into numbers where a number belongs.
    found = _DECODER.decode(line)
    if found.batch is not None and found.event is not None:
        raise msgspec.ValidationError("it has both a batch and an event")
    named = found.batch if found.batch is not None else found.event
    return Recorded(found.at_s, None if named is None else _message(named), found.generation, found.rank)


def _message(named: Any) -> Any:
    """The message of the wire that a twin stands for."""
    if type(named) is _BATCH:  # nearly every line: twice as fast
        values = [*_BEFORE_COUNTS(named), Counts(*_COUNTS_OF(named.counts)), *_AFTER_COUNTS(named)]
        return BatchEnded(*values)
    values = [getattr(named, name) for name in named.__struct_fields__]
    return _MESSAGES[type(named)](*(_message(value) if type(value) is _COUNTS else value for value in values))


def _plain(message: msgspec.Struct) -> dict[str, Any]:
    """The fields of a message by name, those at their default left out."""
    return {
        field.name: _value(value)
        for field in _FIELDS[type(message)]
        if (value := getattr(message, field.name)) != field.default
    }


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else NONFINITE_TEXT.get(value, "nan")
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    return _plain(value) if isinstance(value, Counts) else value


def _tag(message: type[msgspec.Struct]) -> str:
    """The word for a message: "epoch_ended" for EpochEnded."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", message.__name__).lower()


def _twin(message: type[msgspec.Struct], *, tagged: bool) -> Any:
    """A type with the fields of a message, which JSON has by name where the wire has them by place."""
    fields: list[Any] = [
        (f.name, _COUNTS if f.type is Counts else f.type, msgspec.field(default=_default(f)))
        for f in msgspec.structs.fields(message)
    ]
    return msgspec.defstruct(
        message.__name__,
        fields,
        tag=_tag(message) if tagged else None,
        tag_field="type" if tagged else None,
        forbid_unknown_fields=True,
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    """NODEFAULT, which makes a field required, where it has none."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


_EVENTS: tuple[type[msgspec.Struct], ...] = get_args(Event)
_ALL: tuple[type[msgspec.Struct], ...] = (Counts, BatchEnded, *_EVENTS)
_FIELDS = {message: msgspec.structs.fields(message) for message in _ALL}
_COUNTS = _twin(Counts, tagged=False)
_BATCH = _twin(BatchEnded, tagged=False)
_COUNTS_OF = attrgetter(*Counts.__struct_fields__)
_COUNTS_AT = BatchEnded.__struct_fields__.index("counts")
_BEFORE_COUNTS = attrgetter(*BatchEnded.__struct_fields__[:_COUNTS_AT])
_AFTER_COUNTS = attrgetter(*BatchEnded.__struct_fields__[_COUNTS_AT + 1 :])
_TWINS = [_twin(event, tagged=True) for event in _EVENTS]
_MESSAGES: dict[Any, Any] = {_COUNTS: Counts, _BATCH: BatchEnded, **dict(zip(_TWINS, _EVENTS, strict=True))}
_LINE = msgspec.defstruct(
    "Line",
    [
        ("at_s", float),
        ("generation", int, 1),
        ("rank", int, 0),
        ("batch", _BATCH | None, None),
        ("event", reduce(or_, _TWINS) | None, None),
    ],
    forbid_unknown_fields=True,
)
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_LINE, strict=False)
