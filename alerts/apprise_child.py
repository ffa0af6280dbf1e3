"""One delivery by Apprise, in a process of its own: it follows redirects, logs addresses and reads bodies without end.

Started by alerts/notifiers/apprise.py as a script. The message comes on stdin as JSON (with `send: false` its address
is only checked); what came of it goes to the real stdout as JSON, and everything that libraries print goes nowhere.
Changes its own process only.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

MEMORY_BYTES = 1 << 30  # of address space; Apprise and its libraries take a third of it
BODY_BYTES = 64 * 1024  # of an answer
LATE_S = 5.0  # past the deadline, where the process that should end this one is gone


def main() -> None:
    """Take the message, send it, and say what came of it."""
    answers, given = _quiet(), json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_REAL, given["timeout_s"] + LATE_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seen: dict[str, Any] = {"ok": False, "known": True, "status": 0, "retry_after": ""}
    sys.path.append(given["libraries"])
    _guard_addresses(allowed=given.get("send", True))
    _contain(seen)
    _send(given, seen)
    os.write(answers, json.dumps(seen).encode())


def _quiet() -> int:
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    logging.disable(logging.CRITICAL)
    return answers


def _guard_addresses(*, allowed: bool) -> None:
    """No connection to a link-local address: cloud machines hand out their keys there. Not `allowed`: none at all."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - before pathlib
    from alerts.link_local import is_link_local  # noqa: PLC0415 - the path is ours only now

    def assessed(self: Any, address: Any) -> Any:
        """The address itself, never a name, which could lead elsewhere the next time that it is looked up."""
        if not allowed:
            raise OSError("only the address is checked")
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return address
        found = socket.getaddrinfo(address[0], address[1], self.family, self.type)[0][4]
        if is_link_local(str(found[0])):
            raise OSError("link-local")
        return found

    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect = lambda self, to: connect(self, assessed(self, to))  # type: ignore[method-assign]
    socket.socket.connect_ex = lambda self, to: connect_ex(self, assessed(self, to))  # type: ignore[method-assign]


def _contain(seen: dict[str, Any]) -> None:
    """No redirects, short answers; the last status is kept."""
    import requests  # noqa: PLC0415 - after the limits
    from requests.sessions import SessionRedirectMixin  # noqa: PLC0415

    send = requests.Session.send

    def contained(self: Any, request: Any, **options: Any) -> Any:
        response = send(self, request, **{**options, "stream": True, "allow_redirects": False})
        response._content = response.raw.read(BODY_BYTES, decode_content=True)
        response._content_consumed = True
        response.close()
        seen["status"], seen["retry_after"] = response.status_code, response.headers.get("retry-after", "")[:100]
        return response

    SessionRedirectMixin.get_redirect_target = lambda *_: None
    requests.Session.send = contained


def _send(given: dict[str, Any], seen: dict[str, Any]) -> None:
    import apprise  # noqa: PLC0415 - after the limits
    from apprise.attachment.memory import AttachMemory  # noqa: PLC0415

    notifier = apprise.Apprise()
    seen["known"] = bool(notifier.add(given["url"]))
    if seen["known"] and given.get("send", True):
        picture = base64.b64decode(given["picture"])
        attached = AttachMemory(content=picture, name="loss.png", mimetype="image/png") if picture else None
        texts = {"title": given["title"], "body": given["text"], "body_format": apprise.NotifyFormat.TEXT}
        seen["ok"] = bool(notifier.notify(**texts, notify_type=given["type"], attach=attached))


if __name__ == "__main__":
    main()
