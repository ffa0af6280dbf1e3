"""The daemon dies by SIGKILL, at any point: nothing that arrived is lost, nobody told twice, no plan written twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced
from tests.harness.posted_to import PostedTo
from tests.harness.real_daemon import DaemonProcess, until
from tests.harness.trainer import POLICY, FakeTrainer, announce
from trainer_hooks.wire import document_io
from trainer_hooks.wire.eventfile import EventFile, events_path
from trainer_hooks.wire.messages import EpochEnded, EventSent, OrderApplied, PhaseChanged, TrainingEnded
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.run_documents import Exit

STARTED = GenerationStarted("night", 1, "n1", os.getpid(), os.getpid())


class Inbox(PostedTo):
    """A webhook's receiver that outlives daemons. `up` false: it answers 503."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.ids: list[str] = []
        self.types: list[str] = []
        self.up = True

    def _take(self, _: str, headers: Mapping[str, str], body: bytes) -> int:
        if not self.up:
            return 503
        self.ids.append(headers["webhook-id"])
        self.types.append(msgspec.json.decode(body)["type"])
        return 200


@contextmanager
def opened(home: Path, policy: str = POLICY) -> Iterator[tuple[DaemonProcess, FakeTrainer]]:
    announce(home, "night", policy)
    with DaemonProcess(home) as daemon, FakeTrainer(home, "night", pid=os.getpid()) as trainer:
        trainer.allocate(os.getpid(), os.getpid())
        daemon.send(RunAnnounced("night"))
        daemon.send(STARTED)
        trainer.start()
        trainer.until_seen()
        yield daemon, trainer


def _summary(daemon: DaemonProcess) -> dict[str, Any]:
    summary: dict[str, Any] = daemon.json("/api/v1/runs/night")["summary"]
    return summary


def _policy(inbox: Inbox) -> str:
    return f"{POLICY}webhooks:\n  - name: ops\n    url: {inbox.url}\n"


def _obey(trainer: FakeTrainer) -> str:
    order = trainer.until_order()
    receipt = Receipt(
        order=order.id,
        generation=1,
        outcome="applied",
        detail="",
        epoch=1,
        batch=1,
        read_back={},
        written_s=time.time(),
    )
    document_io.write(trainer.folder.receipt(order.id), receipt)
    trainer.event(OrderApplied(time.time(), order.id, "applied", "", 1, 1, {}))
    return order.id


def test_counters_never_go_back_and_no_event_is_lost_over_ten_kills(tmp_path: Path) -> None:
    with opened(tmp_path) as (daemon, trainer):
        names = ("batches_total", 'nonfinite_batches_total{kind="any",', "skipped_steps_total")
        last = dict.fromkeys(names, 0.0)
        for round_ in range(10):
            trainer.batches(20, nonfinite=1)
            trainer.event(PhaseChanged(0.0, 1, f"phase {round_}"))
            daemon.kill()
            daemon.start()
            trainer.until_seen()
            trainer.batches(1)
            _until_batches(daemon, 21 * (round_ + 1))
            now = _counters(daemon, names)
            assert all(now[name] >= last[name] for name in names), (last, now)
            last = now
        assert last["batches_total"] == 210
        assert last[names[1]] == 10
        assert _summary(daemon)["state"] == "phase 9"


def _until_batches(daemon: DaemonProcess, count: int) -> None:
    until("the cumulative counts arrived", lambda: _summary(daemon)["batches"] == count)


def _counters(daemon: DaemonProcess, names: tuple[str, ...]) -> dict[str, float]:
    text = daemon.get("/metrics").text.splitlines()
    found = {name: [line for line in text if line.startswith(f"trainwarden_{name}")] for name in names}
    return {name: float(lines[0].rpartition(" ")[2]) for name, lines in found.items()}


@pytest.mark.parametrize("seed", range(10))
def test_an_incident_is_told_once_and_its_plan_written_once_wherever_the_daemon_dies(tmp_path: Path, seed: int) -> None:
    """One incident, from the first NaN to the answer to its order, with a kill at a random moment of it."""
    chance = random.Random(seed)
    with Inbox() as inbox, opened(tmp_path, _policy(inbox)) as (daemon, trainer):
        trainer.batches(50)
        until("they arrived", lambda: _summary(daemon)["batches"] == 50)
        trainer.batches(5, nonfinite=4)
        _kill_after(daemon, chance.uniform(0.0, 0.12))
        trainer.batches(1)
        until("the incident is there", lambda: _summary(daemon)["incident"])
        order = _obey(trainer)
        _kill_after(daemon, chance.uniform(0.0, 0.12))
        trainer.until_seen()
        until("the cure is watched", lambda: _summary(daemon)["incident"]["state"] == "watching")
        _kill_after(daemon, chance.uniform(0.0, 0.12))
        until("both alerts arrived", lambda: {"incident_opened", "adjusted"} <= set(inbox.types))
        until("nothing is left to tell", lambda: daemon.metric('trainwarden_alerts_pending{run="night"}') == 0)
        plans = sorted(path.name for path in trainer.folder.root.glob("adjust-*.json"))
        assert plans == [f"adjust-{order}.json"], f"seed {seed}"
        assert {o.id for o in trainer.orders} == {order}, f"seed {seed}"
        kinds = Counter(dict.fromkeys(inbox.ids, 1))
        assert len(kinds) == len({(i, t) for i, t in zip(inbox.ids, inbox.types, strict=True)}), "an id names one alert"
        assert Counter(t for _, t in set(zip(inbox.ids, inbox.types, strict=True)))["incident_opened"] == 1
        assert daemon.metric('trainwarden_incidents_total{family="nonfinite",run="night",severity="critical"}') == 1


def _kill_after(daemon: DaemonProcess, seconds: float) -> None:
    time.sleep(seconds)  # the fault itself: a moment nobody chose
    daemon.kill()
    daemon.start()


def test_an_alert_that_nobody_took_is_delivered_by_the_next_daemon_under_the_same_id(tmp_path: Path) -> None:
    with Inbox() as inbox, opened(tmp_path, _policy(inbox)) as (daemon, trainer):
        inbox.up = False
        trainer.batches(10, nonfinite=4)
        until("the alert waits", lambda: (daemon.metric('trainwarden_alerts_pending{run="night"}') or 0) >= 1)
        daemon.kill()
        assert inbox.ids == []
        inbox.up = True
        daemon.start()
        until("the alert arrived", lambda: "incident_opened" in inbox.types)
        sent = 'trainwarden_alerts_sent_total{outcome="delivered",receiver="ops",run="night"}'
        until("its delivery is counted", lambda: (daemon.metric(sent) or 0) >= 1)
        daemon.kill()
        daemon.start()
        assert (daemon.metric(sent) or 0) >= 1
        assert len(inbox.ids) == len(set(inbox.ids))


def test_what_happened_while_no_daemon_lived_is_read_from_the_run_folder(tmp_path: Path) -> None:
    with opened(tmp_path) as (daemon, trainer):
        trainer.batches(10)
        until("they arrived", lambda: _summary(daemon)["batches"] == 10)
        daemon.kill()
        spool = EventFile(events_path(trainer.folder, 1, 0))
        spool.append(EventSent(2, EpochEnded(0.0, 1, 5.0, (1.0, 0.5, 0.5), {"metrics/mAP50(B)": 0.4}, 0.4)))
        spool.append(EventSent(3, TrainingEnded(0.0, "finished", "", 1, {"metrics/mAP50(B)": 0.4})))
        spool.close()
        document_io.write(trainer.folder.exit(1), Exit(number=1, code=0, signal=None, ended_s=time.time()))
        daemon.start()
        until("the exit is known", lambda: _summary(daemon)["state"] == "gone")
        detail = daemon.json("/api/v1/runs/night")
        assert detail["final_metrics"] == {"metrics/mAP50(B)": 0.4}
        told = [line["text"] for line in daemon.json("/api/v1/runs/night/timeline")]
        assert any("training finished" in text for text in told)


def test_a_corrupt_history_is_kept_aside_said_loudly_and_the_run_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as (daemon, trainer):
        trainer.batches(10)
        until("they arrived", lambda: _summary(daemon)["batches"] == 10)
        daemon.kill()
        for path in tmp_path.glob("history.sqlite3*"):
            path.write_bytes(b"not a database" * 1000)
        daemon.start()
        assert daemon.metric("trainwarden_history_moved_aside") == 1
        assert list(tmp_path.glob("history.sqlite3.unreadable-*"))
        daemon.send(RunAnnounced("night"))
        daemon.send(STARTED)
        trainer.batches(1)
        until("the counts are whole again, for they are cumulative", lambda: _summary(daemon)["batches"] == 11)
        told = [line for line in daemon.json("/api/v1/runs/night/timeline") if "could not be read" in line["text"]]
        assert told
        assert told[0]["severity"] == "critical"


def test_a_daemon_that_was_stopped_takes_what_waited_for_it(tmp_path: Path) -> None:
    with opened(tmp_path) as (daemon, trainer):
        daemon.signal(signal.SIGSTOP)
        trainer.batches(200, nonfinite=2)
        daemon.signal(signal.SIGCONT)
        until("they arrived", lambda: _summary(daemon)["batches"] == 200)
        assert _summary(daemon)["nonfinite"] == 2
