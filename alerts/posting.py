"""What notifiers that POST share: the try itself, JSON, a form with a picture, and texts that are safe to show."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from alerts.http import Http, TransportError
from alerts.notifiers import Outcome, Sent
from alerts.secret import Secret

AGENT = {"user-agent": "trainwarden"}
JSON = {"content-type": "application/json", **AGENT}
CUT = "…"  # ends what was longer
MENTION = re.compile(r"@(?=\S)|<(?=[!@#])")
BIDIRECTIONAL = dict.fromkeys(
    [*range(0x202A, 0x202F), *range(0x2066, 0x206A)], ""
)  # they can reverse a name on a screen


async def post(
    http: Http, url: Secret, body: bytes, headers: Mapping[str, str], timeout_s: float, now_s: float
) -> Sent:
    """One try. No answer is worth a retry; what a status means is in `Sent.of_status`."""
    try:
        reply = await http.post(url, body, headers, timeout_s)
    except TransportError as error:
        return Sent(Outcome.RETRY, str(error))
    return Sent.of_status(reply.status, reply.retry_after, now_s)


def encoded(payload: object) -> bytes:
    """The payload as JSON."""
    return msgspec.json.encode(payload)


def shown(text: str, chars: int) -> str:
    """At most so many characters, without those that control a terminal or turn the direction of writing."""
    cut = text if len(text) <= chars else text[: chars - 1] + CUT
    cut = "".join(c if c.isprintable() or c in "\n\t" else " " for c in cut.translate(BIDIRECTIONAL))
    return cut.encode(errors="replace").decode()


def within(text: str, limit_bytes: int, encoding: str) -> str:
    """At most so many bytes in that encoding: some services count those, and refuse what is longer."""
    data = text.encode(encoding)
    if len(data) <= limit_bytes:
        return text
    return data[: limit_bytes - len(CUT.encode(encoding))].decode(encoding, errors="ignore") + CUT


def without_mentions(text: str) -> str:
    """The same to a reader, but for a service neither @name nor <!name>: a character without width follows the sign."""
    return MENTION.sub("\\g<0>\u200b", text)


def form(fields: Mapping[str, str], name: str, picture: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart form with texts and one PNG, and its headers; the same bytes for the same content."""
    boundary = hashlib.sha256(repr(sorted(fields.items())).encode() + picture).hexdigest()
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'content-disposition: form-data; name="{name}"; filename="loss.png"\r\ncontent-type: image/png\r\n\r\n'
    parts.append(f"--{boundary}\r\n{head}".encode() + picture + f"\r\n--{boundary}--\r\n".encode())
    return b"".join(parts), {"content-type": f"multipart/form-data; boundary={boundary}", **AGENT}
