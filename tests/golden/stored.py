"""Everything that is sent or stored, by the file of its golden bytes: a name, and the bytes of its example."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from alerts.alert import Alert
from monitor.core.model import Effect, Entry, Input
from tests.golden.examples import example, reachable
from trainer_hooks.wire.codec import encode
from trainer_hooks.wire.document_io import Document
from trainer_hooks.wire.messages import Downlink, Frame

FOLDER = Path(__file__).parent
JOURNAL_TIME_S = 1_795_727_373.5


class Stored(typing.NamedTuple):
    """One struct that is sent or stored."""

    kind: Any  # what it is read back as: the struct, or the union it belongs to
    instance: Any
    data: bytes


def wire() -> dict[str, Stored]:
    """Every message, and every struct within one, as msgpack."""
    kinds = reachable(Frame, Downlink)
    return {name: _packed(kind, example(kind)) for name, kind in kinds.items()} | {"Frame": _frame()}


def journal() -> dict[str, Stored]:
    """An entry of the journal for every input."""
    entries = {kind.__name__: Entry(7, JOURNAL_TIME_S, example(kind)) for kind in typing.get_args(Input)}
    return {name: _packed(Entry, entry) for name, entry in entries.items()}


def effects() -> dict[str, Stored]:
    """Every effect, as the history keeps it until it is done."""
    return {kind.__name__: _packed(Effect, example(kind)) for kind in typing.get_args(Effect)}


def documents() -> dict[str, Stored]:
    """Every document of the run folder, and an alert as the outbox keeps it, as JSON."""
    instances = {kind.__name__: example(kind) for kind in (*Document.__constraints__, Alert)}
    return {
        name: Stored(type(made), made, msgspec.json.format(msgspec.json.encode(made), indent=0))
        for name, made in instances.items()
    }


FILES: dict[str, Callable[[], dict[str, Stored]]] = {
    "wire": wire,
    "journal": journal,
    "effects": effects,
    "documents": documents,
}


def _frame() -> Stored:
    """With its own checksum: any other would be refused."""
    data = encode(example(Frame))
    return Stored(Frame, msgspec.msgpack.decode(data, type=Frame), data)


def _packed(kind: Any, instance: Any) -> Stored:
    return Stored(kind, instance, msgspec.msgpack.encode(instance))


def golden(file: str) -> dict[str, list[bytes]]:
    """What was written down for each name, the oldest first; the last is what today's code must write."""
    found: dict[str, list[bytes]] = {}
    for line in path(file).read_text().splitlines():
        name, _, text = line.partition(" ")
        found.setdefault(name, []).append(text.encode() if file == "documents" else bytes.fromhex(text))
    return found


def path(file: str) -> Path:
    return FOLDER / f"{file}.txt"


def write() -> None:
    """Add a line for whatever is new or has changed. Never takes a line away: what was stored once must be read."""
    for file, make in FILES.items():
        known = golden(file) if path(file).exists() else {}
        with path(file).open("a") as out:
            for name, stored in make().items():
                if known.get(name, [b""])[-1] != stored.data:
                    text = stored.data.decode() if file == "documents" else stored.data.hex()
                    out.write(f"{name} {text}\n")


if __name__ == "__main__":
    write()
