"""The one HTTP client, against a plain server on a Unix socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.client.http import Client, DeclinedError, UnreachableError, run_path
from monitor.core.model import CommandGiven, CommandKind
from monitor.core.model.channel import Health, RunAnnounced, TimelineLine
from tests.harness.daemon import PlainDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[PlainDaemon]:
    with PlainDaemon(tmp_path, refusals={"command": "nothing is running"}) as started:
        yield started


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "run" / "api.sock")


def test_an_answer_is_decoded_as_what_was_asked_for(daemon: PlainDaemon, client: Client) -> None:
    assert client.get("/api/v1/health", Health).port == daemon.health["port"]


def test_an_answer_of_another_shape_is_no_answer_of_this_version(daemon: PlainDaemon, client: Client) -> None:
    daemon.health = {"pid": "one"}
    with pytest.raises(DeclinedError, match="not the answer of this version's daemon") as caught:
        client.get("/api/v1/health", Health)
    assert not caught.value.final


def test_an_input_arrives_as_it_was_sent(daemon: PlainDaemon, client: Client) -> None:
    client.post(run_path("r", "inputs"), RunAnnounced("r"))
    assert daemon.received == [RunAnnounced("r")]


def test_a_refusal_is_the_daemons_own_sentence_and_final(daemon: PlainDaemon, client: Client) -> None:
    with pytest.raises(DeclinedError, match=r"^nothing is running$") as caught:
        client.post(run_path("r", "inputs"), CommandGiven("r", CommandKind.STOP, "me"))
    assert caught.value.final


def test_without_a_daemon_it_says_how_to_start_one(client: Client) -> None:
    with pytest.raises(UnreachableError, match=r"No such file or directory.*trainwarden serve") as caught:
        client.get("/api/v1/health", Health)
    assert "serve" not in caught.value.why


def test_a_long_poll_that_another_thread_waits_for_ends_at_once_on_interrupt(
    daemon: PlainDaemon, client: Client
) -> None:
    ended: list[Exception] = []

    def poll() -> None:
        try:
            client.get("/api/v1/runs/r/timeline", list[TimelineLine], after=0, wait_s=60)
        except UnreachableError as error:
            ended.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    while thread.is_alive() and not ended:
        client.interrupt()  # again and again: the request may not have begun yet
        thread.join(0.01)
    thread.join(5.0)
    assert len(ended) == 1


def test_the_name_of_a_run_stays_one_part_of_the_path() -> None:
    assert run_path("a/../b?c", "inputs") == "/api/v1/runs/a%2F..%2Fb%3Fc/inputs"
