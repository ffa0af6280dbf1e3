"""What notifiers that POST share: the try itself, JSON, a form with a picture, and texts that are safe to show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from alerts.http import Http, TransportError
from alerts.notifiers import Outcome, Sent
from alerts.secret import Secret

AGENT = {"user-agent": "trainwarden"}
JSON = {"content-type": "application/json", **AGENT}
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
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text[:chars].translate(BIDIRECTIONAL))
    return text.encode(errors="replace").decode()


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
