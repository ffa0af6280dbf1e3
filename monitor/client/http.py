"""HTTP to the daemon over its Unix socket, for the CLI, the demo and the supervisor. An edge file: opens sockets.

By the standard library and not by httpx: the supervisor lives as long as the training and must stay small, and nothing
here needs more than one request on one connection. Synchronous; every wait has a limit.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from typing_extensions import Self

from trainer_hooks.wire.runfolder import control_socket

CONNECT_S = 2.0  # a live daemon accepts at once; longer means it is stopped
ANSWER_S = 10.0  # its longest answer is a report, rendered in well under a second
ANSWER_BYTES_MAX = 64 * 1024 * 1024  # the largest answer is the state of a run, a few MB
TEXT_MAX = 300  # characters of an answer quoted in an error
BAD_ANSWER = 502  # the status of an error for an answer that is not the one of this version's daemon

T = TypeVar("T")


class ClientError(Exception):
    """The daemon could not be asked. The text is one sentence for the terminal."""


class UnreachableError(ClientError):
    """No daemon answers on the socket, or it did not answer in time. `why`: the reason alone."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class SilentError(UnreachableError):
    """The daemon takes the request and does not answer: it is stopped or overloaded, and no other one can start."""


class DeclinedError(ClientError):
    """The daemon answered, and the answer is no (4xx), a failure of its own (5xx), or nothing we understand."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def final(self) -> bool:
        """True where the same request would be declined again."""
        return self.status < 500


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, answer_s: float) -> None:
        super().__init__("trainwarden", timeout=answer_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_S)
        self.sock.connect(str(self._path))
        self.sock.settimeout(self.timeout)


class Client:
    """Asks the daemon of this user, or the one that listens at `path`. One request at a time: one Client for a thread.

    Each request has a connection of its own; leaving the `with` block ends one that still waits. Every method raises
    UnreachableError where no daemon answers in time, and DeclinedError where its answer is no.
    """

    def __init__(self, path: Path | None = None, answer_s: float = ANSWER_S) -> None:
        """`answer_s`: the longest silence of the daemon within one answer."""
        self.path = path or control_socket()
        self._answer_s = answer_s
        self._busy: _UnixConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()

    def get(self, what: str, kind: type[T], **query: str | float) -> T:
        """What the daemon answers to `what`, as a `kind`."""
        return _decoded(what, self._ask("GET", _with_query(what, query), None), kind)

    def packed(self, what: str, kind: type[T], **query: str | float) -> T:
        """As `get`, of an answer in MessagePack: numbers that are not finite survive it."""
        data = self._ask("GET", _with_query(what, query), None)
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise _of_another_version(what, error) from error

    def text(self, what: str, **query: str | float) -> str:
        """What the daemon answers to `what`, as text."""
        return self._ask("GET", _with_query(what, query), None).decode(errors="replace")

    def post(self, what: str, body: object) -> None:
        """Send the daemon something; returns after it was committed."""
        self._ask("POST", what, msgspec.json.encode(body))

    def posted(self, what: str, kind: type[T], body: object) -> T:
        """As `post`, and the answer as a `kind`."""
        return _decoded(what, self._ask("POST", what, msgspec.json.encode(body)), kind)

    def interrupt(self) -> None:
        """Make a request that another thread waits for fail at once."""
        connection = self._busy
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has just been closed: nobody waits any more
                return

    def _ask(self, method: str, what: str, body: bytes | None) -> bytes:
        connection = self._busy = _UnixConnection(self.path, self._answer_s)
        try:
            connection.request(method, what, body, {} if body is None else {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read(ANSWER_BYTES_MAX + 1)
        except TimeoutError as error:
            raise SilentError(
                f"{self.path}: the daemon does not answer; it may be stopped or overloaded, try again",
                "it accepts requests and does not answer them",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(
                f"{self.path}: no daemon answers ({why}); start one with `trainwarden serve`", f"{self.path}: {why}"
            ) from error
        finally:
            self._busy = None
            connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise DeclinedError(BAD_ANSWER, f"{what}: the answer is larger than {ANSWER_BYTES_MAX} bytes")
        if answer.status >= 400:
            raise DeclinedError(answer.status, _sentence(what, answer.status, data))
        return data


def run_path(run: str, *rest: str) -> str:
    """The path of a run in the daemon's API; whatever the name holds, it stays one part of the path."""
    return "/".join(("/api/v1/runs", quote(run, safe=""), *rest))


def _decoded(what: str, data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _of_another_version(what, error) from error


def _with_query(what: str, query: dict[str, str | float]) -> str:
    return f"{what}?{urlencode(query)}" if query else what


def _of_another_version(what: str, error: Exception) -> DeclinedError:
    return DeclinedError(BAD_ANSWER, f"{what}: not the answer of this version's daemon ({error}); restart it")


class _Problem(msgspec.Struct):
    detail: str


def _sentence(what: str, status: int, data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{what}: the daemon answered {status} {data.decode(errors='replace')[:TEXT_MAX]!r}"
