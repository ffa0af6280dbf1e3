"""What each receiver is sent, as its service documents it: limits, fields, and texts that stay texts."""

from __future__ import annotations

import asyncio
import json
from email import message_from_bytes
from typing import Any

import msgspec
import pytest

from alerts.alert import Alert
from alerts.http import Reply
from alerts.notifiers import load_all
from alerts.secret import Secret
from tests.contracts.samples import sample
from tests.harness.alerts import START_S, alert

HOSTILE = "@everyone <!channel> <@U1> *b* [a](javascript:b) `c` \x1b[31m\u202e<img onerror=x>"
LONG = msgspec.structs.replace(alert("r/7"), title="t" * 100_000, text="x" * 100_000, labels={"run": "r" * 9_000})
PNG = b"\x89PNG\r\n\x1a\nrest"


class Recording:
    """In place of the client: what was posted. The network is in tests/contracts."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes, dict[str, str]]] = []

    async def post(self, url: Secret, body: bytes, headers: dict[str, str], *_: Any, **__: Any) -> Reply:
        self.posts.append((url.reveal(), body, headers))
        return Reply(200)


def posted(kind: str, told: Alert) -> tuple[str, bytes, dict[str, str]]:
    (post,) = all_posted(kind, told)
    return post


def all_posted(kind: str, told: Alert) -> list[tuple[str, bytes, dict[str, str]]]:
    recording = Recording()
    registered = load_all()[kind]
    config = sample("notifier", kind, "").config("http://127.0.0.1:1/in", "key", 5.0)
    asyncio.run(registered.notify(told, config, recording, START_S))  # type: ignore[arg-type]
    return recording.posts


def payload(kind: str, **changes: Any) -> Any:
    return json.loads(posted(kind, msgspec.structs.replace(alert("r/7"), **changes))[1])


def texts(value: Any) -> list[str]:
    """Every text in a payload."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", ["ntfy", "slack", "discord", "teams", "telegram", "pagerduty", "alertmanager"])
def test_no_control_character_reaches_a_reader(kind: str) -> None:
    for text in texts(payload(kind, title=HOSTILE, text=HOSTILE)):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_slack_reads_no_markup_and_no_mention() -> None:
    sent = payload("slack", title=HOSTILE, text=HOSTILE, url="http://127.0.0.1/")
    assert "<" not in sent["text"]
    (attachment,) = sent["attachments"]
    header, section, actions = attachment["blocks"]
    assert {header["text"]["type"], section["text"]["type"]} == {"plain_text"}
    assert actions["elements"][0]["url"] == "http://127.0.0.1/"
    header, section = json.loads(posted("slack", LONG)[1])["attachments"][0]["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000


def test_discord_mentions_nobody_and_takes_the_picture() -> None:
    sent = payload("discord", title=HOSTILE, text=HOSTILE)
    assert sent["allowed_mentions"] == {"parse": []}
    (embed,) = sent["embeds"]
    assert r"\*b\*" in embed["title"]
    assert embed["description"].startswith("```\n")
    assert embed["description"].count("`") == 6
    escaped = payload("discord", title="*" * 500)["embeds"][0]["title"]
    assert len(escaped) <= 256
    long = json.loads(posted("discord", LONG)[1])["embeds"][0]
    assert len(long["title"]) <= 256
    assert len(long["description"]) <= 4096
    _, body, headers = posted("discord", msgspec.structs.replace(alert("r/7"), picture=PNG))
    form = message_from_bytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    text, picture = form.get_payload()
    assert json.loads(text.get_payload())["embeds"][0]["image"]["url"] == "attachment://loss.png"  # type: ignore[union-attr]
    assert picture.get_payload(decode=True) == PNG  # type: ignore[union-attr]


def test_teams_gets_a_card_whose_texts_are_no_markdown() -> None:
    sent = payload("teams", title=HOSTILE, text=f"{HOSTILE}\nsecond")
    card = sent["attachments"][0]["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert len(card["body"]) == 3
    for character in ("x", "\n", '"', "\U0001f600"):
        assert len(posted("teams", msgspec.structs.replace(LONG, text=character * 9_000))[1]) < 28_000
    (*_, last) = payload("teams", text="a\n" * 300)["attachments"][0]["content"]["body"]
    assert last["inlines"][0]["text"] == "… 200 more lines"


def test_telegram_sets_no_parse_mode_and_sends_the_picture_with_a_caption() -> None:
    url, body, _ = posted("telegram", msgspec.structs.replace(alert("r/7"), text=HOSTILE))
    assert url.endswith("/botkey/sendMessage")
    assert "parse_mode" not in json.loads(body)
    assert "@\u200beveryone" in json.loads(body)["text"]
    emoji = msgspec.structs.replace(LONG, text="\U0001f600" * 5_000, url="https://box.example.org/")
    for long in (LONG, emoji):
        text = json.loads(posted("telegram", long)[1])["text"]
        assert len(text.encode("utf-16-le")) // 2 <= 4096
        assert text.endswith(f"…{'' if long is LONG else chr(10) * 2 + long.url}")
    url, body, headers = posted("telegram", msgspec.structs.replace(alert("r/7"), picture=PNG))
    assert url.endswith("/botkey/sendPhoto")
    form = message_from_bytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    chat, caption, _, picture = form.get_payload()
    assert chat.get_payload() == "7"  # type: ignore[union-attr]
    assert len(caption.get_payload(decode=True).decode()) <= 1024  # type: ignore[union-attr]
    assert picture.get_payload(decode=True) == PNG  # type: ignore[union-attr]
    first, second = all_posted("telegram", msgspec.structs.replace(LONG, text="x" * 2_000, picture=PNG))
    assert "x" * 2_000 in json.loads(first[1])["text"]
    caption = message_from_bytes(b"content-type: " + second[2]["content-type"].encode() + b"\r\n\r\n" + second[1])
    assert len(caption.get_payload()[1].get_payload()) <= 1024  # type: ignore[union-attr, index]
    assert (first[0].rsplit("/", 1)[1], second[0].rsplit("/", 1)[1]) == ("sendMessage", "sendPhoto")


def test_pagerduty_gets_one_incident_a_thread_which_its_end_resolves() -> None:
    opened = payload("pagerduty", thread="r-i1")
    ended = payload("pagerduty", thread="r-i1", ended_s=START_S + 5, severity="info")
    assert (opened["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == ended["dedup_key"] == "r-i1"
    assert opened["payload"]["severity"] == "critical"
    assert len(json.loads(posted("pagerduty", LONG)[1])["payload"]["summary"]) <= 1024


def test_ntfy_gets_its_topic_in_the_message_and_rings_for_what_is_critical() -> None:
    url, body, _ = posted("ntfy", alert("r/7"))
    assert url == "http://127.0.0.1:1/in"
    assert json.loads(body)["topic"] == "key"
    assert payload("ntfy")["priority"] == 5
    over = payload("ntfy", ended_s=START_S, severity="info")
    assert (over["priority"], over["tags"]) == (3, ["white_check_mark"])
    unproven = payload("ntfy", ended_s=START_S, severity="warning")
    assert (unproven["priority"], unproven["tags"]) == (4, ["warning"]), "it ended, and not well"
    for long in ("x", "\U0001f600"):
        assert (
            len(json.loads(posted("ntfy", msgspec.structs.replace(LONG, text=long * 9_000))[1])["message"].encode())
            <= 4096
        )
    first, second = all_posted("ntfy", msgspec.structs.replace(alert("r/7"), picture=PNG))
    assert json.loads(first[1])["priority"] == 5
    assert (second[0], second[1]) == ("http://127.0.0.1:1/in/key", PNG)
    assert (second[2]["filename"], second[2]["priority"]) == ("loss.png", "min")


def test_what_was_cut_shows_it() -> None:
    assert payload("slack", title="t" * 200)["text"] == "t" * 149 + "…"
