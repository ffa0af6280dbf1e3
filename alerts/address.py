"""Whether an address could be posted to, by its text alone. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

EXAMPLE = "write one like https://example.org/hook"


def url_problem(url: str) -> str:
    """What is wrong with a URL and what to write, in words that don't show it (it may hold a token); empty: nothing."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a bad port raises only when it is asked for
    except ValueError:
        return f"is not a URL; {EXAMPLE}"
    if parts.scheme not in ("http", "https"):
        return f"does not begin with https:// or http://; {EXAMPLE}"
    if not host:
        return f"names no host; {EXAMPLE}"
    if any(character.isspace() or not character.isprintable() for character in url):
        return f"holds a blank or a control character; {EXAMPLE}"
    return ""
