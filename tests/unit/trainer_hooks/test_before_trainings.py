"""What was written before trainings had numbers is of training 1."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.harness import plans
from tests.harness.records import order
from trainer_hooks.wire.codec import decode_downlink, decode_frame, encode
from trainer_hooks.wire.document_io import read
from trainer_hooks.wire.messages import PROTOCOL, EventsSeen, Frame, Sender
from trainer_hooks.wire.plan import Plan, Receipt
from trainer_hooks.wire.run_documents import LookWanted, Manifest

RECEIPT = Receipt(
    order="o", generation=1, outcome="applied", detail="", epoch=1, batch=1, read_back={}, written_s=0.0, training=2
)
MANIFEST = Manifest(
    run="r", generation=1, rank=0, ordinal=1, serial=1, file="f", source="/f", digest="d", size=1, epoch=1, batches=1,
    nonfinite_batches=0, is_best=False, saved_s=0.0, training=2,
)  # fmt: skip


def test_documents_without_a_training(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(plans.plan(), training=2)
    for document in (plan, RECEIPT, MANIFEST, LookWanted(order="o", generation=1, rank=0, training=2)):
        said = msgspec.to_builtins(document)
        assert said.pop("training") == 2
        path = tmp_path / "document.json"
        path.write_bytes(msgspec.json.encode(said))
        kind: type[Plan] = type(document)  # type: ignore[assignment]
        assert read(path, kind) == msgspec.structs.replace(document, training=1)


def test_messages_without_a_training() -> None:
    """It is the last field of each, so an older writer's array is one shorter."""
    for message in (order("o1"), EventsSeen(1, 0, 7)):
        fields = msgspec.msgpack.decode(encode(message))
        assert fields[-1] == 1
        assert decode_downlink(msgspec.msgpack.encode(fields[:-1])) == message
    frame = Frame(PROTOCOL, Sender("r", 1, 0, "n"), 0, ())
    tag, protocol, sender, *rest, _checksum = msgspec.msgpack.decode(encode(frame))  # which came later still
    assert decode_frame(msgspec.msgpack.encode([tag, protocol, sender[:-1], *rest])) == frame
