"""Talks HTTP to the daemon over its Unix socket. An edge file; synchronous, every call has a deadline."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec
from typing_extensions import Self

from trainer_hooks.wire.runfolder import control_socket

CONNECT_S = 2.0  # a live daemon accepts at once; longer means it is stopped
ANSWER_S = 10.0  # its longest answer is a report, rendered in well under a second
TEXT_MAX = 300  # characters of an answer quoted in an error

T = TypeVar("T")


class ClientError(Exception):
    """The daemon could not be asked. The text is one sentence for the terminal."""


class UnreachableError(ClientError):
    """No daemon answers on the socket, or it did not answer in time."""


class DeclinedError(ClientError):
    """The daemon answered, and the answer is no (4xx), a failure of its own (5xx), or nothing we understand."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Client:
    """Asks the daemon of this user, or the one that listens at `path`. Use as a context manager.

    Every method raises UnreachableError where no daemon answers in time, and DeclinedError where its answer is no.
    """

    def __init__(self, path: Path | None = None, answer_s: float = ANSWER_S) -> None:
        self.path = path or control_socket()
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.path)),
            base_url="http://trainwarden",
            timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, what: str, kind: type[T], **query: str | float) -> T:
        """What the daemon answers to `what`, as a `kind`."""
        return _decode(self._ask("GET", what, None, query), kind)

    def packed(self, what: str, kind: type[T], **query: str | float) -> T:
        """As `get`, of an answer in MessagePack: numbers that are not finite survive it."""
        response = self._ask("GET", what, None, query)
        try:
            return msgspec.msgpack.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            raise _of_another_version(response, error) from error

    def text(self, what: str, **query: str | float) -> str:
        """What the daemon answers to `what`, as text."""
        return self._ask("GET", what, None, query).text

    def post(self, what: str, body: object = None) -> None:
        """Tell the daemon something; returns after it was committed."""
        self._ask("POST", what, msgspec.json.encode(body if body is not None else {}), {})

    def _ask(self, method: str, what: str, body: bytes | None, query: dict[str, str | float]) -> httpx.Response:
        self._check_listening()
        try:
            response = self._http.request(method, what, content=body, params=query)
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"{self.path}: the daemon does not answer; it may be stopped or overloaded, try again"
            ) from error
        except httpx.TransportError as error:
            raise self._no_answer(str(error)) from error
        if response.is_error:
            raise DeclinedError(response.status_code, _sentence(response))
        return response

    def _check_listening(self) -> None:
        """Connect once and hang up: where nobody listens, httpcore leaves the socket it tried with open."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S)
            try:
                probe.connect(str(self.path))
            except OSError as error:
                raise self._no_answer(error.strerror or "time is up") from error

    def _no_answer(self, why: str) -> UnreachableError:
        return UnreachableError(f"{self.path}: no daemon answers ({why}); start one with `trainwarden serve`")


def run_path(run: str, *rest: str) -> str:
    """The path of a run in the daemon's API; whatever the name holds, it stays one part of the path."""
    return "/".join(("/api/v1/runs", quote(run, safe=""), *rest))


def _decode(response: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _of_another_version(response, error) from error


def _of_another_version(response: httpx.Response, error: Exception) -> DeclinedError:
    return DeclinedError(
        502, f"{response.request.url.path}: not the answer of this version's daemon ({error}); restart it"
    )


class _Error(msgspec.Struct):
    error: str


def _sentence(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{response.request.url.path}: the daemon answered {response.status_code} {response.text[:TEXT_MAX]!r}"
