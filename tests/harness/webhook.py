"""The people's end of a webhook: a real HTTP server that refuses the first try of each message."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.harness.supervisor import eventually


class Post:
    """What came, by message id."""

    def __init__(self, server: HTTPServer) -> None:
        self.tries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.taken: dict[str, dict[str, Any]] = {}
        server.expect_request("/hook").respond_with_handler(self._take)
        self.url = server.url_for("/hook")

    def _take(self, request: Request) -> Response:
        name = request.headers["webhook-id"]
        self.tries[name].append(json.loads(request.data))
        if len(self.tries[name]) == 1:
            return Response("not now", 503)
        self.taken[name] = self.tries[name][-1]
        return Response("", 204)

    def kinds(self) -> list[str]:
        """Of each message that was taken, once however often it was tried."""
        return sorted("watch" if "/watch/" in name else name.rsplit("/", 2)[1] for name in set(self.taken))

    def expect(self, *kinds: str, timeout_s: float = 30.0) -> None:
        """Wait until each of these was taken, and nothing else."""
        try:
            eventually("every message", lambda: set(self.kinds()) >= set(kinds), timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {kinds}; these came: {self.kinds()}") from None
        assert self.kinds() == sorted(kinds), f"expected {sorted(kinds)}, got {self.kinds()}: {self.tries}"
