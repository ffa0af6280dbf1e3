"""The limits of the API: who watches, how many links there are, how much of a list and of raw batches is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.core.model import Entry, RecordArrived
from monitor.core.state.run import Fleet
from monitor.daemon.api import sessions
from monitor.daemon.api.endpoint import PAGE_MAX, Page
from monitor.daemon.api.live import BATCHES_MAX, QUEUE_MAX, WATCHERS_MAX, Live, Watcher
from monitor.daemon.api.run_orders import NAME_MAX, OrderAsked
from monitor.daemon.api.sessions import LINKS_MAX, NAMES_MAX, Keys, Names, Sessions
from monitor.history.curve_query import RAW_BATCHES_MAX, Range, recorded
from monitor.history.recall import open_history
from monitor.history.transaction_rows import Commit
from tests.bounds.test_core_bounds import driven
from tests.harness.trainer import batch
from trainer_hooks.wire.messages import Counts


def entry(count: int) -> Entry:
    return Entry(count, 1000.0 + count, RecordArrived("r", 1, 0, batch(Counts(batches=count))))


async def frames_of(watcher: Watcher) -> list[bytes]:
    found = []
    while data := await watcher.next(0.0):
        found.append(data)
    return found


def test_a_watcher_that_takes_nothing_loses_the_oldest_and_hears_everything_when_it_has_caught_up() -> None:
    async def scene() -> None:
        fleet = driven().core.fleet
        live = Live(lambda: fleet, lambda: 1.0)
        watcher = live.watch("", 0)
        assert watcher is not None
        live.publish()
        assert b"event: all" in (await frames_of(watcher))[0]
        for number in range(QUEUE_MAX + 3):
            watcher.put(b"%d" % number)
        live.publish()  # it has not caught up: it gets nothing more
        assert await frames_of(watcher) == [b"%d" % number for number in range(3, QUEUE_MAX + 3)]
        live.publish()
        [everything] = await frames_of(watcher)
        assert everything.startswith(b"event: all")
        assert b"event: run" in everything

    asyncio.run(scene())


def test_batches_that_come_too_fast_are_left_out_the_oldest_first_and_counted() -> None:
    async def scene() -> None:
        live = Live(Fleet, lambda: 1.0)
        watcher = live.watch("r", 0)
        other = live.watch("r", 1)
        assert watcher is not None
        assert other is not None
        for count in range(1, BATCHES_MAX + 3):
            live.fed(entry(count))
        columns = watcher.batches()
        assert columns is not None
        assert (columns.count[0], columns.count[-1], columns.skipped) == (3, BATCHES_MAX + 2, 2)
        assert watcher.batches() is None
        assert other.batches() is None

    asyncio.run(scene())


def test_no_more_streams_are_opened_than_the_limit_and_one_that_left_makes_room() -> None:
    async def scene() -> None:
        live = Live(Fleet, lambda: 1.0)
        watchers = [live.watch("", 0) for _ in range(WATCHERS_MAX)]
        assert live.watch("", 0) is None
        assert watchers[0] is not None
        live.leave(watchers[0])
        assert live.watch("", 0) is not None
        live.close()
        live.leave(watchers[1])  # type: ignore[arg-type]
        assert live.watch("", 0) is None, "the daemon leaves"

    asyncio.run(scene())


def test_of_too_many_links_the_oldest_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Sessions(Keys("c" * 64, "r" * 64), 9469)
    codes = [made.link("http://x", view_only=False).url.rpartition("=")[2] for _ in range(LINKS_MAX + 1)]
    assert made.enter(codes[0]) is None
    assert all(made.enter(code) for code in codes[1:])
    late = made.link("http://x", view_only=False).url.rpartition("=")[2]
    monkeypatch.setattr(sessions, "LINK_S", -1.0)
    early = made.link("http://x", view_only=True).url.rpartition("=")[2]
    assert made.enter(early) is None, "it is too old"
    assert made.enter(late) is not None


def test_of_too_many_addresses_the_oldest_is_answered_no_more() -> None:
    names = Names(9469)
    for number in range(NAMES_MAX + 1):
        names.add(f"https://box{number}.example")
    assert not names.is_host(b"box0.example")
    assert all(names.is_host(f"box{number}.example".encode()) for number in range(1, NAMES_MAX + 1))
    assert names.is_host(b"localhost:9469")


@pytest.mark.parametrize(("kind", "most", "beyond"), [
    (Page, {"limit": PAGE_MAX}, {"limit": PAGE_MAX + 1}),
    (OrderAsked, {"kind": "stop", "by": "x" * NAME_MAX}, {"kind": "stop", "by": "x" * (NAME_MAX + 1)}),
])  # fmt: skip
def test_what_is_asked_for_is_taken_up_to_its_limit(kind: Any, most: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert msgspec.convert(most, kind)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(beyond, kind)


def test_raw_batches_are_folded_up_to_a_limit_and_roll_ups_do_beyond_it(tmp_path: Path) -> None:
    store, _ = open_history(tmp_path)
    for first in range(1, RAW_BATCHES_MAX + 32, 500):
        store.commit(Commit(entries=[entry(count) for count in range(first, first + 500)]))
    store.close()
    assert recorded(store.path, Range("r", last=RAW_BATCHES_MAX), 600).width == -(-RAW_BATCHES_MAX // 600)
    assert recorded(store.path, Range("r", last=RAW_BATCHES_MAX + 1), 600).width == 16
