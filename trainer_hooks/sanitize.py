"""An event made fit for the wire, on the thread that sends it, so that nothing in it can change afterwards. Pure."""

from __future__ import annotations

import numbers
from typing import Any

import msgspec

from trainer_hooks.wire.codec import TEXT_MAX
from trainer_hooks.wire.messages import Event, EventSent, HookTrouble

EVENT_BYTES_MAX = 128 * 1024  # half a frame: an event never travels alone in an otherwise empty world
_TEXT_LIMITS = (TEXT_MAX, 512, 64)  # characters; the next one is tried where the event is still too long

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(EventSent)


def fit(body: Event) -> Event:
    """The event with every text cut to TEXT_MAX (less where it is still over EVENT_BYTES_MAX) and plain numbers.

    An event that a daemon would refuse would block every event behind it, so it is replaced by a HookTrouble that says
    what was wrong with it.
    """
    reason = f"longer than {EVENT_BYTES_MAX} bytes however its texts are cut"
    for text_max in _TEXT_LIMITS:
        try:
            data = _encoder.encode(EventSent(1, _plain(body, text_max)))
            if len(data) <= EVENT_BYTES_MAX:
                return _decoder.decode(data).body
        except (TypeError, ValueError, OverflowError, RecursionError) as error:  # msgspec's errors are ValueErrors
            reason = str(error)
            break
    wall_s = body.wall_s if isinstance(body.wall_s, float) else 0.0
    return HookTrouble(wall_s, "event", f"{type(body).__name__} can't be sent: {reason}"[:TEXT_MAX], False)


def _plain(value: Any, text_max: int) -> Any:
    if isinstance(value, str):
        return _text(value, text_max)
    if isinstance(value, msgspec.Struct):
        return type(value)(*(_plain(getattr(value, name), text_max) for name in value.__struct_fields__))
    if isinstance(value, dict):
        return {_plain(key, text_max): _plain(item, text_max) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_plain(item, text_max) for item in value)
    return _number(value)


def _number(value: Any) -> Any:
    """Numpy's numbers register as these; msgspec takes only Python's own. What is not a number stays as it is."""
    if type(value) in (float, int, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _text(text: str, text_max: int) -> str:
    """Cut, and without the lone surrogates that file names of another encoding are made of."""
    cut = text[:text_max]
    return str(cut) if cut.isascii() else cut.encode("utf-8", "backslashreplace").decode()
