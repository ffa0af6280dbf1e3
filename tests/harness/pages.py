"""A page as a browser's parser takes it apart, for tests that ask what is in it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "hr"}
HARMLESS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "ul", "li", "strong", "div",
    "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "span", "br",
    "svg", "desc", "line", "path", "polyline", "polygon", "circle", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "aria-label", "aria-labelledby",
    "tabindex", "scope", "viewbox", "d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "text-anchor",
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and texts of a page. Raises AssertionError for a tag that is closed and was not open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.styles if self.open and self.open[-1] == "style" else self.texts).append(data)

    @property
    def text(self) -> str:
        """Everything a reader sees, and the titles and descriptions of the charts."""
        return "".join(self.texts)

    def values(self, name: str) -> list[str]:
        """What every attribute of this name holds."""
        return [value for attribute, value in self.attributes if attribute == name]


def assert_inert(text: str) -> Page:
    """The page holds nothing that could run, load or lead elsewhere."""
    page = Page(text)
    assert set(page.tags) <= HARMLESS
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert page.tags.count("style") == page.tags.count("h1") == 1
    assert not any(loads in "".join(page.styles) for loads in ("url(", "@import", "src"))
    return page
