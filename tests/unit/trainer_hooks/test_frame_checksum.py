"""A frame that was damaged on its way is refused; one of an older version, without a checksum, is taken."""

from __future__ import annotations

import msgspec
import pytest

from tests.harness.trainer import batch
from trainer_hooks.wire.codec import WireError, decode_frame, encode
from trainer_hooks.wire.messages import PROTOCOL, Counts, Frame, Sender

FRAME = Frame(PROTOCOL, Sender("night", 1, 0, "n1"), 7, (batch(Counts(batches=3)),))


def test_every_single_changed_bit_is_noticed() -> None:
    """Most of them change a number and nothing else: without a checksum they would be believed."""
    data = encode(FRAME)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            decode_frame(bytes(damaged))


def test_a_frame_that_lost_its_end_or_got_more_is_refused() -> None:
    data = encode(FRAME)
    for cut in range(len(data)):
        with pytest.raises(WireError):
            decode_frame(data[:cut])
    with pytest.raises(WireError):
        decode_frame(data + b"\x00")


def test_what_was_packed_is_what_is_read_and_an_older_reader_passes_over_the_checksum() -> None:
    data = encode(FRAME)
    assert msgspec.structs.replace(decode_frame(data), checksum=None) == FRAME
    older = msgspec.defstruct("Frame", [("protocol", int), ("sender", Sender), ("sequence", int), ("records", list)],
                              array_like=True, tag=40)  # fmt: skip
    assert msgspec.msgpack.decode(data, type=older).sequence == 7  # type: ignore[attr-defined]


def test_a_frame_without_a_checksum_is_of_an_older_version_and_taken() -> None:
    fields = msgspec.msgpack.decode(encode(FRAME))
    assert decode_frame(msgspec.msgpack.encode(fields[:-1])) == FRAME
