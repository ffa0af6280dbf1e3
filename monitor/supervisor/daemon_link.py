"""HTTP to the daemon over its Unix socket, by the standard library only: the supervisor stays small. Opens sockets."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0
BODY_MAX = 4 * 1024 * 1024  # bytes of an answer


class DaemonDown(Exception):
    """Nobody answers on the socket, or not in time, or not as a daemon would."""


class Refusal(Exception):
    """The daemon answered and does not want it: its sentence. Trying again changes nothing."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Link:
    """One request at a time, each on a connection of its own; use one Link a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._busy: _UnixConnection | None = None

    def get(self, path: str, timeout_s: float = TIMEOUT_S) -> Any:
        return self._ask("GET", path, None, timeout_s)

    def post(self, path: str, body: dict[str, Any], timeout_s: float = TIMEOUT_S) -> Any:
        return self._ask("POST", path, json.dumps(body).encode(), timeout_s)

    def interrupt(self) -> None:
        """Make a request that another thread waits for fail at once."""
        connection = self._busy
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has just been closed: nobody waits any more
                return

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Any:
        """The decoded answer. Raises DaemonDown, or Refusal with the daemon's own sentence."""
        connection = self._busy = _UnixConnection(self._path, timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            data = answer.read(BODY_MAX)
            decoded = json.loads(data) if data else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DaemonDown(f"{self._path}: {error or type(error).__name__}") from error
        finally:
            self._busy = None
            connection.close()
        if 400 <= answer.status < 500:
            raise Refusal(str(decoded.get("error", decoded)) if isinstance(decoded, dict) else f"HTTP {answer.status}")
        if answer.status >= 500:
            raise DaemonDown(f"{self._path}: answered HTTP {answer.status}")
        return decoded
