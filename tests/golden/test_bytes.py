"""What is sent or stored keeps its bytes, and old and new versions read each other's.

After a change that is meant: `python -m tests.golden.stored` adds the new bytes below the old ones. A line is never
taken away or changed: a hook of an earlier version still sends it, a history of an earlier version still holds it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.golden.stored import FILES, Stored, golden, wire
from trainer_hooks.wire.codec import decode_downlink, decode_frame
from trainer_hooks.wire.messages import Frame

ALL = [(file, name) for file, make in FILES.items() for name in make()]
ARRAYS = [name for name, stored in wire().items() if stored.kind.__struct_config__.array_like]
REMEDY = "run `python -m tests.golden.stored` where the change is meant: it adds a line, the old one must still be read"


@pytest.fixture
def given(file: str, name: str) -> Stored:
    """One struct that is sent or stored."""
    return FILES[file]()[name]


def read(stored: Stored, file: str, data: bytes) -> Any:
    """As the other side reads it."""
    decode = msgspec.json.decode if file == "documents" else msgspec.msgpack.decode
    return decode(data, type=stored.kind)


@pytest.mark.parametrize(("file", "name"), ALL)
def test_its_bytes_are_those_written_down(file: str, name: str, given: Stored) -> None:
    lines = golden(file).get(name, [])
    assert lines, f"{file} {name}: nothing is written down; {REMEDY}"
    assert lines[-1] == given.data, f"{file} {name}: other bytes; {REMEDY}"
    assert read(given, file, lines[-1]) == given.instance


@pytest.mark.parametrize(("file", "name"), ALL)
def test_what_an_earlier_version_wrote_is_read_with_every_value(file: str, name: str, given: Stored) -> None:
    """Fields that it did not know yet are filled in; all others are as it wrote them."""
    for data in golden(file)[name]:
        found = read(given, file, data)
        assert changed(of_the_bytes(file, data), written(file, found)) == []


def of_the_bytes(file: str, data: bytes) -> Any:
    return msgspec.json.decode(data) if file == "documents" else msgspec.msgpack.decode(data)


def written(file: str, found: Any) -> Any:
    """The same, written by today's code and read without its types."""
    return of_the_bytes(file, msgspec.json.encode(found) if file == "documents" else msgspec.msgpack.encode(found))


def changed(old: Any, new: Any, at: str = "") -> list[str]:
    """Where a value of the old bytes is not in the new ones, by name or by place."""
    if isinstance(old, dict):
        lost = [f"{at}.{key}" for key in old if key not in new]
        return lost + [line for key in old if key in new for line in changed(old[key], new[key], f"{at}.{key}")]
    if isinstance(old, list):
        lost = [f"{at}[{len(new)}:]"] if len(new) < len(old) else []
        pairs = zip(old, new, strict=False)
        return lost + [line for n, (a, b) in enumerate(pairs) for line in changed(a, b, f"{at}[{n}]")]
    return [] if old == new else [f"{at}: {old!r} is read as {new!r}"]


@pytest.mark.parametrize("name", ARRAYS)
def test_an_older_reader_passes_over_a_new_last_field(name: str) -> None:
    stored = wire()[name]
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(stored.data), "from a later version"])
    assert msgspec.msgpack.decode(longer, type=stored.kind) == stored.instance


@pytest.mark.parametrize("name", ARRAYS)
def test_a_newer_reader_fills_in_a_missing_last_field_and_refuses_where_it_can_not(name: str) -> None:
    stored = wire()[name]
    fields = msgspec.structs.fields(stored.kind)
    shorter = msgspec.msgpack.encode(msgspec.msgpack.decode(stored.data)[:-1])
    if fields[-1].required:
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(shorter, type=stored.kind)
        return
    found = msgspec.msgpack.decode(shorter, type=stored.kind)
    default = fields[-1].default
    filled = default if default is not msgspec.NODEFAULT else fields[-1].default_factory()
    assert found == msgspec.structs.replace(stored.instance, **{fields[-1].name: filled})


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, name in ALL if file != "wire"])
def test_a_field_of_a_later_version_is_passed_over_where_fields_have_names(file: str, name: str) -> None:
    stored = FILES[file]()[name]
    fields = of_the_bytes(file, stored.data)
    named = fields[2] if file == "journal" else fields
    named["from_a_later_version"] = [1, {"a": None}]
    encode = msgspec.json.encode if file == "documents" else msgspec.msgpack.encode
    assert read(stored, file, encode(fields)) == stored.instance


def test_no_message_is_without_a_tag_of_its_own() -> None:
    tags = [stored.kind.__struct_config__.tag for stored in wire().values()]
    tagged = [tag for tag in tags if tag is not None]
    assert len(set(tagged)) == len(tagged)


def test_a_frame_of_an_earlier_version_is_taken_and_so_are_its_answers() -> None:
    for data in golden("wire")["Frame"]:
        assert isinstance(decode_frame(data), Frame)
    for name in ("EventsSeen", "Order", "Refused"):
        for data in golden("wire")[name]:
            assert type(decode_downlink(data)).__name__ == name
