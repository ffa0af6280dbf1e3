"""Everything that Apprise reaches through one URL, by a child process for each delivery. Starts processes."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import anyio
import msgspec

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent, TimeoutS, about, register
from alerts.posting import shown, without_mentions
from alerts.secret import Secret

CHILD = Path(__file__).resolve().parent.parent / "apprise_child.py"
COMMAND = (sys.executable, "-I", str(CHILD))
TITLE_CHARS, TEXT_CHARS = 250, 3500
TYPES = {"critical": "failure", "warning": "warning", "info": "info"}
UNKNOWN = "Apprise does not take this address; write it as Apprise's wiki shows for the service"
NOT_INSTALLED = "Apprise is not installed where the daemon runs: pip install 'trainwarden[notify]'"


class AppriseConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Any of the services of Apprise (https://github.com/caronc/apprise/wiki), by its URL such as `matrix://...`."""

    address: Annotated[
        Secret, about("This is a URL of Apprise, such as matrix://...; its wiki has the form for each service.")
    ]
    timeout_s: TimeoutS = 20.0


class Answer(msgspec.Struct):
    """What the child reports."""

    ok: bool
    known: bool
    status: int
    retry_after: str


def refusal(config: AppriseConfig) -> str:
    """Why Apprise would not take the address; empty: it would, or it is not installed. Nothing is sent. Blocks."""
    message = {"url": config.address.reveal(), "libraries": _libraries(), "timeout_s": config.timeout_s, "send": False}
    if not message["libraries"]:
        return ""
    try:
        done = subprocess.run(
            COMMAND,
            input=json.dumps(message).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=config.timeout_s,
            check=False,
        )
        answer = msgspec.json.decode(done.stdout, type=Answer)
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):  # not known: the first delivery finds out
        return ""
    return "" if answer.known else f"address: {UNKNOWN}"


def _libraries() -> str:
    """The folder of Apprise, which -I hides where it is a user's; empty: it is not installed."""
    found = importlib.util.find_spec("apprise")
    return str(Path(found.origin).parent.parent) if found is not None and found.origin is not None else ""


@register("apprise", AppriseConfig, refusal=refusal)
async def apprise(alert: Alert, config: AppriseConfig, http: Http, now_s: float) -> Sent:
    """One try. The child is killed at the deadline; nothing that it prints is read."""
    libraries = _libraries()
    if not libraries:
        return Sent(Outcome.RETRY, NOT_INSTALLED)
    text = "\n\n".join(part for part in (without_mentions(shown(alert.text, TEXT_CHARS)), alert.url) if part)
    message = {
        "url": config.address.reveal(),
        "title": without_mentions(shown(alert.title, TITLE_CHARS)),
        "text": text or "-",
        "type": "success" if alert.ended_well else TYPES.get(alert.severity, "info"),
        "picture": base64.b64encode(alert.picture).decode(),
        "libraries": libraries,
        "timeout_s": config.timeout_s,
    }
    try:
        with anyio.fail_after(config.timeout_s):
            done = await anyio.run_process(
                COMMAND, input=json.dumps(message).encode(), stderr=subprocess.DEVNULL, check=False
            )
    except TimeoutError:
        return Sent(Outcome.RETRY, f"no answer within {config.timeout_s:g} s")
    return _sent(done.stdout, now_s)


def _sent(output: bytes, now_s: float) -> Sent:
    try:
        answer = msgspec.json.decode(output, type=Answer)
    except msgspec.DecodeError:
        return Sent(Outcome.RETRY, "the delivery process ended without an answer")
    if not answer.known:
        return Sent(Outcome.REFUSED, UNKNOWN)
    if answer.ok:
        return Sent(Outcome.OK)
    return (
        Sent.of_status(answer.status, answer.retry_after, now_s)
        if answer.status >= 300
        else Sent(Outcome.RETRY, "the service did not take it")
    )
