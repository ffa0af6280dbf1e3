"""POSTs an alert as JSON, signed as Standard Webhooks asks (https://www.standardwebhooks.com).

The body, version 1 (keys are only ever added; a changed meaning raises the version):

    {"version": 1,
     "type": "incident_opened",                        the kind of alert
     "timestamp": "2026-11-18T15:34:00+00:00",         when it started, UTC
     "data": {"id": "...", "severity": "critical", "status": "firing" or "resolved", "labels": {"run": "...", ...},
              "title": "...", "text": "...", "started_s": 1795016040.0, "ended_s": null}}

Headers: `webhook-id` is the alert's id, the same on every try: drop what you have seen. `webhook-timestamp` is the time
of this try, Unix seconds. `webhook-signature`, where a secret is configured, is one "v1,<base64>" for each secret,
separated by spaces: HMAC-SHA256 over "<id>.<timestamp>.<body>".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timezone
from typing import Annotated

import msgspec

from alerts.alert import Alert
from alerts.http import Http, TransportError
from alerts.notifiers import Outcome, Sent, TimeoutS, about, register
from alerts.secret import Secret, key_bytes

BODY_VERSION = 1
TEXT_CHARS_MAX = 16_000  # a report's summary fits; receivers cap their bodies
TITLE_CHARS_MAX = 500
LABELS_MAX, LABEL_CHARS_MAX = 32, 200


class WebhookConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where to POST, and what to sign with."""

    url: Annotated[Secret, about("This is the address that alerts are posted to.")]
    secrets: Annotated[
        tuple[Secret, ...],
        about("These are one or two signing secrets, the newest first. Without them nothing is signed."),
    ] = ()
    timeout_s: TimeoutS = 10.0
    link_local: Annotated[
        bool, about("With true the address may be a link-local one, where cloud machines keep their keys.")
    ] = False


@register("webhook", WebhookConfig, each=True)
async def webhook(alert: Alert, config: WebhookConfig, http: Http, now_s: float) -> Sent:
    """One try. No answer is worth a retry; what a status means is in `Sent.of_status`."""
    payload = body(alert)
    headers = {"content-type": "application/json", "user-agent": "trainwarden"}
    headers |= signature_headers(alert.id, payload, config.secrets, int(now_s))
    try:
        reply = await http.post(config.url, payload, headers, config.timeout_s, link_local=config.link_local)
    except TransportError as error:
        return Sent(Outcome.RETRY, str(error))
    return Sent.of_status(reply.status, reply.retry_after, now_s)


def body(alert: Alert) -> bytes:
    """The alert in the JSON of this module's docstring, its texts cut to size; the same bytes on every try."""
    data = {
        "id": alert.id,
        "severity": alert.severity,
        "status": "firing" if alert.ended_s is None else "resolved",
        "labels": {k[:LABEL_CHARS_MAX]: v[:LABEL_CHARS_MAX] for k, v in list(alert.labels.items())[:LABELS_MAX]},
        "title": alert.title[:TITLE_CHARS_MAX],
        "text": alert.text[:TEXT_CHARS_MAX],
        "started_s": alert.started_s,
        "ended_s": alert.ended_s,
    }
    started = datetime.fromtimestamp(alert.started_s, timezone.utc).isoformat()
    return msgspec.json.encode({"version": BODY_VERSION, "type": alert.name, "timestamp": started, "data": data})


def signature_headers(message_id: str, payload: bytes, secrets: tuple[Secret, ...], timestamp: int) -> dict[str, str]:
    """The Standard Webhooks headers; `timestamp` in Unix seconds. Raises SecretError for a secret of a bad length."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    signed = f"{message_id}.{timestamp}.".encode() + payload
    digests = (hmac.new(key_bytes(secret), signed, hashlib.sha256).digest() for secret in secrets)
    if secrets:
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return headers
