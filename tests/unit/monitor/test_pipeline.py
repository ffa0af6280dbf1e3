"""Fold, commit, act: in this order, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from monitor.core.engine import Core
from monitor.core.model import Effect, Entry, GenerationStarted, Input, RecordArrived, RunOpened, Tick
from monitor.core.policy.settings import Policy
from monitor.core.policy.table_settings import DecisionTable
from monitor.core.state.run import Fleet
from monitor.daemon.catch_up import replay
from monitor.daemon.pipeline import Pipeline
from monitor.errors import StoreFailed
from monitor.history import reads
from monitor.history.recall import Recalled, open_history
from monitor.history.store import Store
from tests.harness.clock import FakeClock
from tests.harness.trainer import batch, training_started
from trainer_hooks.wire.messages import Counts, EventSent
from trainer_hooks.wire.run_documents import RunSpec
from trainer_hooks.wire.runfolder import RunFolder


class Bench:
    """A pipeline over a real core and a real store, and a note of what it did."""

    def __init__(self, folder: Path, on_effect: Callable[[Effect], None] = lambda _: None) -> None:
        self.clock = FakeClock()
        self.acts: list[Effect] = []
        self.told = 0
        store, self.recalled = open_history(folder)
        self.store: Store = store
        self.core = Core(self.recalled.fleet)
        replay(self.core, self.recalled)
        self._on_effect = on_effect
        self.writer = ThreadPoolExecutor(1)
        self.pipeline = Pipeline(
            self.core, store, self.writer, self.recalled, self.clock,
            receivers=lambda _: ("ops",), carry_out=self._act, alerts_stored=self._tell,
            detected=lambda _run, _seconds: None,
        )  # fmt: skip

    def _act(self, effect: Effect) -> None:
        self.acts.append(effect)
        self._on_effect(effect)

    def _tell(self) -> None:
        self.told += 1

    def close(self) -> None:
        self.writer.shutdown()
        self.store.close()


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Pipeline]:
    task = asyncio.create_task(bench.pipeline.run())
    try:
        yield bench.pipeline
    finally:
        bench.pipeline.stop()
        await task
        bench.close()


def opening(act: bool = True) -> list[Input]:
    folder = RunFolder(Path("/nowhere/night"))
    spec = RunSpec(run="night", argv=(), cwd="/", created_s=0.0, act=act)
    started = EventSent(1, training_started(folder))
    return [
        RunOpened(spec, Policy(act=act, table=DecisionTable(adjust_after=3, early_share=0.0)).model_dump_json()),
        GenerationStarted("night", 1, "n1", 10, 11),
        RecordArrived("night", 1, 0, started),
    ]


def batches(count: int, nonfinite: int = 0) -> list[Input]:
    given: list[Input] = []
    for i in range(1, count + 1):
        bad = i > count - nonfinite
        worse = max(i - (count - nonfinite), 0)
        counts = Counts(batches=i, steps=i, nonfinite_batches=worse, nonfinite_loss=worse, skipped_by_guard=worse)
        given.append(RecordArrived("night", 1, 0, batch(counts, bad=bad)))
    return given


def test_effects_are_carried_out_only_after_the_commit_that_holds_them(tmp_path: Path) -> None:
    seen: list[bool] = []

    def look(effect: Effect) -> None:
        other, recalled = open_history(tmp_path)
        other.close()
        seen.append(type(effect).__name__ == "SendOrder" or effect.id in {kept.id for kept in recalled.effects})

    async def scene() -> None:
        bench = Bench(tmp_path, look)
        async with running(bench) as pipeline:
            for given in [*opening(), *batches(60, nonfinite=4)]:
                pipeline.offer(given)
            await pipeline.committed()
        assert {type(effect).__name__ for effect in bench.acts} >= {"WritePlan", "WriteReport"}
        assert bench.told >= 1
        assert [row.alert.name for row in bench.pipeline.outbox.due(bench.clock.now_s())] == ["incident_opened"]

    asyncio.run(scene())
    assert seen
    assert all(seen)


def test_an_alert_waits_for_its_commit_before_it_may_leave(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        for given in [*opening(), *batches(60, nonfinite=4)]:
            bench.pipeline.offer(given)
        assert bench.pipeline.outbox.due(bench.clock.now_s()) == []
        async with running(bench) as pipeline:
            await pipeline.committed()
            assert len(pipeline.outbox.due(bench.clock.now_s())) == 1

    asyncio.run(scene())


@pytest.mark.parametrize("killed_after", [0, 1, 3, 10, 57, 60, 63])
def test_the_state_after_a_kill_is_the_state_of_what_was_committed(tmp_path: Path, killed_after: int) -> None:
    """Snapshot and journal together give, to the byte, what an uninterrupted core has."""
    script = [*opening(), *batches(60, nonfinite=4), Tick()]

    async def scene() -> bytes:
        bench = Bench(tmp_path)
        task = asyncio.create_task(bench.pipeline.run())
        for given in script[:killed_after]:
            bench.clock.advance(0.1)
            await bench.pipeline.submit(given)
        task.cancel()
        bench.close()
        return msgspec.msgpack.encode(bench.core.fleet)

    alive = asyncio.run(scene())
    after = Bench(tmp_path)
    after.close()
    assert msgspec.msgpack.encode(after.core.fleet) == alive


def test_the_journal_replayed_gives_the_same_effects(tmp_path: Path) -> None:
    script = [*opening(), *batches(60, nonfinite=4), Tick(), Tick()]
    given_out: list[list[bytes]] = []
    entries = [Entry(i + 1, 1_795_016_040.0 + 0.3 * i, given) for i, given in enumerate(script)]
    through_disk = msgspec.msgpack.decode(msgspec.msgpack.encode(entries), type=list[Entry])
    for journal in (entries, through_disk):
        core = Core()
        given_out.append([msgspec.msgpack.encode(effect) for entry in journal for effect in core.feed(entry).effects])
    assert given_out[0] == given_out[1]
    assert given_out[0]


def test_entries_go_on_numbering_where_an_earlier_daemon_stopped(tmp_path: Path) -> None:
    async def scene() -> int:
        bench = Bench(tmp_path)
        async with running(bench) as pipeline:
            for given in opening():
                await pipeline.submit(given)
        return bench.core.fleet.seq

    assert asyncio.run(scene()) == 3
    assert asyncio.run(scene()) == 6


def test_quiet_ticks_wait_for_company_and_are_kept_for_the_replay(tmp_path: Path) -> None:
    async def scene() -> Recalled:
        bench = Bench(tmp_path)
        async with running(bench) as pipeline:
            for given in opening():
                await pipeline.submit(given)
            for _ in range(20):
                pipeline.offer(Tick())
            for _ in range(20):
                await asyncio.sleep(0)
            (stored,) = bench.store.rows("SELECT count(*) FROM journal")[0]
            assert stored == 3, "a tick that did nothing must not wake the disk"
        return bench.recalled

    asyncio.run(scene())
    store, recalled = open_history(tmp_path)
    store.close()
    assert recalled.fleet.seq == 23


def test_on_a_full_disk_detection_goes_on_and_nothing_is_told_until_there_is_space(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        async with running(bench) as pipeline:
            for given in opening():
                await pipeline.submit(given)
            (pages,) = bench.store.rows("PRAGMA page_count")[0]
            bench.store.rows(f"PRAGMA max_page_count = {pages}")
            for given in batches(2000, nonfinite=4):
                pipeline.offer(given)
            waiting = asyncio.create_task(pipeline.committed())
            await asyncio.wait([waiting], timeout=0.5)
            assert not waiting.done()
            assert bench.core.fleet.runs["night"].training.incident is not None
            assert (bench.acts, bench.told) == ([], 0)
            bench.store.rows("PRAGMA max_page_count = 1000000")
            await asyncio.wait_for(waiting, 10.0)
            assert bench.told == 1
            assert bench.acts

    asyncio.run(scene())


def test_a_store_that_fails_ends_the_pipeline_so_that_a_restart_can_look(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        for _ in range(300):
            bench.pipeline.offer(Tick())
        task = asyncio.create_task(bench.pipeline.run())
        await bench.pipeline.committed()
        bench.store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        with bench.store.path.open("r+b") as file:  # what a dying disk does to pages
            file.seek(4096)
            file.write(b"\xff" * (bench.store.path.stat().st_size - 4096))
        bench.store.rows("PRAGMA shrink_memory")
        bench.pipeline.offer(opening()[0])
        with pytest.raises(StoreFailed):
            await asyncio.wait_for(_offer_until_done(bench, task), 20.0)
        bench.close()

    asyncio.run(scene())


async def _offer_until_done(bench: Bench, task: asyncio.Task[None]) -> None:
    while not task.done():
        for given in opening():
            bench.pipeline.offer(given)
        await asyncio.sleep(0.01)
    await task


def test_a_story_line_wakes_who_waits_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        async with running(bench) as pipeline:
            waiting = asyncio.create_task(pipeline.wait_for_timeline(30.0))
            await asyncio.sleep(0)
            pipeline.notify("night", "info", "hello")
            await asyncio.wait_for(waiting, 5.0)
        assert [line.text for line in reads.timeline(bench.store.path, "night", after=0)] == ["hello"]

    asyncio.run(scene())


def test_an_incident_that_opens_is_in_a_snapshot_at_once(tmp_path: Path) -> None:
    """A kill right after people were told must not leave a state from before it, however little time has passed."""

    async def scene() -> None:
        bench = Bench(tmp_path)
        async with running(bench) as pipeline:
            for given in [*opening(), *batches(50)]:
                await pipeline.submit(given)
            assert bench.store.rows("SELECT count(*) FROM snapshots") == [(0,)], "none is due yet by the clock"
            for given in batches(60, nonfinite=4)[50:]:
                await pipeline.submit(given)
            [(fleet,)] = bench.store.rows("SELECT fleet FROM snapshots ORDER BY seq DESC LIMIT 1")
            assert len(msgspec.msgpack.decode(fleet, type=Fleet).runs["night"].training.ledger.incidents) == 1

    asyncio.run(scene())
