"""A tab of a real Chromium that looks at a daemon's page, and keeps whatever it asks for and complains of."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import Self

from tests.harness.real_daemon import DaemonProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDE, PHONE = (1100, 900), (360, 740)
AXE = Path(__file__).resolve().parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}


class Tab:
    """As a context manager. `link` begins a session as `trainwarden page` does; None shares that of `beside`."""

    def __init__(
        self,
        browser: Browser,
        daemon: DaemonProcess,
        *,
        theme: str = "light",
        size: tuple[int, int] = WIDE,
        view_only: bool = False,
        beside: Tab | None = None,
    ) -> None:
        self.daemon, self.address = daemon, f"http://127.0.0.1:{daemon.json('/api/v1/health')['port']}"
        self._own = beside is None
        self.context: BrowserContext = (
            beside.context
            if beside
            else browser.new_context(
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": size[0], "height": size[1]},
                reduced_motion="reduce",
            )
        )
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if self._own:
            link = daemon.request("POST", "/api/v1/links", {"view_only": view_only})
            self.page.goto(msgspec.json.decode(link.content)["url"])
        else:
            self.page.goto(self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.page.close()
        if self._own:
            self.context.close()

    def go(self, place: str, until: str) -> None:
        """To a view, until what the selector says is there."""
        self.page.evaluate("place => { location.hash = place }", place)
        self.page.wait_for_selector(until)

    def text(self, selector: str) -> str:
        """What the first of these shows."""
        return self.page.locator(selector).first.inner_text()

    def until_text(self, selector: str, text: str, within_s: float = 10.0) -> None:
        """Wait until the first of these shows exactly that."""
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.innerText === text",
            arg=[selector, text],
            timeout=within_s * 1000,
        )

    def faults_of_access(self) -> list[dict[str, Any]]:
        """What axe finds that is serious; its script is evaluated, since the page's policy lets no other in."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        assert len(found["passes"]) > 5, "axe looked at nothing"
        return [
            {"rule": one["id"], "where": [node["html"][:150] for node in one["nodes"]]}
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
