"""Talks HTTP to the daemon over its Unix socket. An edge file; synchronous, every call has a deadline."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

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
    """One connection to the daemon of this user. Use as a context manager.

    Every method raises UnreachableError where no daemon answers in time, and DeclinedError where its answer is no.
    """

    def __init__(self, socket: Path | None = None, answer_s: float = ANSWER_S) -> None:
        self.socket = socket or control_socket()
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)),
            base_url="http://trainwarden",
            timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, kind: type[T], answer_s: float | None = None, **query: str | float) -> T:
        """What `path` answers, as a `kind`. `answer_s` replaces the deadline where the answer may be waited for."""
        return _decode(self._ask("GET", path, None, answer_s, query), kind)

    def text(self, path: str, **query: str | float) -> str:
        """What `path` answers, as text."""
        return self._ask("GET", path, None, None, query).text

    def post(self, path: str, body: object = None) -> None:
        """Tell the daemon something; returns after it was committed."""
        self._ask("POST", path, msgspec.json.encode(body if body is not None else {}), None, {})

    def _ask(
        self, method: str, path: str, body: bytes | None, answer_s: float | None, query: dict[str, str | float]
    ) -> httpx.Response:
        timeout = httpx.USE_CLIENT_DEFAULT if answer_s is None else httpx.Timeout(answer_s, connect=CONNECT_S)
        try:
            response = self._http.request(method, path, content=body, params=query, timeout=timeout)
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"{self.socket}: the daemon does not answer; it may be stopped or overloaded, try again"
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self.socket}: no daemon answers ({error}); start one with `trainwarden serve`"
            ) from error
        if response.is_error:
            raise DeclinedError(response.status_code, _sentence(response))
        return response


def run_path(run: str, *rest: str) -> str:
    """The path of a run in the daemon's API; whatever the name holds, it stays one part of the path."""
    return "/".join(("/api/v1/runs", quote(run, safe=""), *rest))


def _decode(response: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeclinedError(
            502, f"{response.request.url.path}: not the answer of this version's daemon ({error}); restart it"
        ) from error


class _Error(msgspec.Struct):
    error: str


def _sentence(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{response.request.url.path}: the daemon answered {response.status_code} {response.text[:TEXT_MAX]!r}"
