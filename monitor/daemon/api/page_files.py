"""The page's files, as `hatch_build.py` made them. An edge file: reads them once, at the daemon's start.

They hold no secret, so they need no token; whatever the page shows it asks for with one.
"""

from __future__ import annotations

import gzip
import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.daemon.api.endpoint import Door, Endpoint

FOLDER = Path(__file__).resolve().parents[1] / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
}
INDEX = "index.html"
HTML = "text/html; charset=utf-8"
FOR_EVER = "public, max-age=31536000, immutable"  # the names of assets hold a hash of their content
MISSING = """\
This installation of trainwarden has no page. {why}

Install Node.js 22 or newer and run `make page` in the checkout, or install a released wheel, which carries the page;
then restart the daemon. Everything else works without it: `trainwarden status`, /metrics, the HTTP API, the alerts.
"""


class PageFiles:
    """Every file of the page by its path below `folder`. Where there is none, `/` says why."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        self._files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
        self._packed = {name: gzip.compress(data, 9) for name, data in self._files.items()}

    def endpoints(self) -> list[Endpoint]:
        """Rows of the table of routes."""
        return [
            Endpoint(Door.OPEN, "GET", "/", self.index, HTML),
            Endpoint(Door.OPEN, "GET", "/assets/{name}", self.asset, HTML),
        ]

    async def index(self, request: Request) -> Response:
        """The page."""
        if INDEX not in self._files:
            why = self._files.get("MISSING.txt", b"It was not built when this was installed.").decode(errors="replace")
            return PlainTextResponse(MISSING.format(why=why.strip()), 404, HEADERS)
        return self._file(request, INDEX, "no-cache")

    async def asset(self, request: Request) -> Response:
        """One of its scripts, styles or pictures."""
        return self._file(request, f"assets/{request.path_params['name']}", FOR_EVER)

    def _file(self, request: Request, name: str, cached: str) -> Response:
        if name not in self._files:
            raise HTTPException(404, f"/{name[:80]}: is not a file of the page; load / again")
        media = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {**HEADERS, "cache-control": cached}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self._packed[name], 200, {**headers, "content-encoding": "gzip"}, media_type=media)
        return Response(self._files[name], 200, headers, media_type=media)
