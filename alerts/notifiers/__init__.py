"""Ways to alert somebody: one file each, registered by its kind. It says whether a retry could help, never retries."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Protocol

import msgspec

from alerts.alert import Alert
from alerts.enums import StrEnum
from alerts.http import Http

RESEND_S = 60.0
RETRY_AFTER_MAX_S = 3600.0  # a receiver may not silence us for longer
RETRY_STATUSES = frozenset({408, 425, 429})  # the 4xx that speak of the moment, not of the request
STATUS_HINTS = {
    401: ": it does not accept the token; correct it",
    403: ": it does not let this token or address in; correct it",
    404: ": nothing is at this address; correct it",
    410: ": this address was given up; make a new one",
}


def about(description: str, *, asked: bool = False, not_empty: bool = False) -> msgspec.Meta:
    """What a field of a config is for, in a full sentence.

    `asked`: `trainwarden alerts setup` asks for it, although it may be left out.
    """
    extra = {"asked": True} if asked else None
    return msgspec.Meta(description=description, extra=extra, min_length=1 if not_empty else None)


TimeoutS = Annotated[
    float,
    msgspec.Meta(gt=0, description="This is how many seconds one try may take. The alert is then tried again."),
]


class Outcome(StrEnum):
    """What a receiver made of an alert."""

    OK = "ok"
    RETRY = "retry"
    REFUSED = "refused"  # the same alert would be refused again


class Sent(msgspec.Struct, frozen=True):
    """How one try went."""

    outcome: Outcome
    reason: str = ""  # for people; holds no URL and no secret
    retry_after_s: float | None = None  # the receiver asked for it; at most RETRY_AFTER_MAX_S. None: it did not

    @classmethod
    def of_status(cls, status: int, retry_after: str = "", now_s: float = 0.0) -> Sent:
        """2xx is OK; 408, 425, 429 and 5xx may be tried again; anything else, redirects included, is refused."""
        if 200 <= status < 300:
            return cls(Outcome.OK)
        if status in RETRY_STATUSES or 500 <= status < 600:
            return cls(Outcome.RETRY, f"HTTP {status}", retry_after_s(retry_after, now_s))
        if 300 <= status < 400:
            return cls(Outcome.REFUSED, f"HTTP {status}: redirects are not followed, write the final URL")
        return cls(Outcome.REFUSED, f"HTTP {status}{STATUS_HINTS.get(status, '')}")


class Notifier(Protocol):
    """Sends one alert to one receiver. `config` is the registered config type; any failure comes back as a Sent."""

    async def __call__(self, alert: Alert, config: Any, http: Http, now_s: float, /) -> Sent: ...


class Registered(msgspec.Struct, frozen=True):
    """A notifier and the type of its config, which is hashable and hides its secrets."""

    kind: str
    config: type
    notify: Notifier
    each: bool = False  # a program reads it: it gets each alert by itself, and at once
    resend: bool = False  # it forgets: every RESEND_S it gets each alert of a trouble that is not over once more
    refusal: Callable[[Any], str] | None = None  # why a config can't work, found without a network; empty: it may


_registered: dict[str, Registered] = {}


def register(
    kind: str,
    config: type,
    *,
    each: bool = False,
    resend: bool = False,
    refusal: Callable[[Any], str] | None = None,
) -> Callable[[Notifier], Notifier]:
    """Decorator: the function is the notifier `kind`. Raises ValueError if the kind is taken.

    `each`: a program reads it, so quiet hours, the rate limit and digests are not for it. `resend`: see alerts.resend.
    `refusal`: see Registered.
    """

    def decorate(notify: Notifier) -> Notifier:
        if kind in _registered:
            raise ValueError(f"notifier {kind!r} is registered twice; give the second one another kind")
        _registered[kind] = Registered(kind, config, notify, each, resend, refusal)
        return notify

    return decorate


def load_all() -> dict[str, Registered]:
    """Every notifier of this package, by kind."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return dict(_registered)


def retry_after_s(header: str, now_s: float) -> float | None:
    """Seconds, at most RETRY_AFTER_MAX_S, that a Retry-After header asks for (a number or a date); None: none."""
    if header.isascii() and header.isdigit():
        return min(float(header), RETRY_AFTER_MAX_S)
    try:
        wait_s = parsedate_to_datetime(header).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
