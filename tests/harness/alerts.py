"""Alerts and receivers as tests need them, and a delivery whose clock only the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio

from alerts.alert import Alert
from alerts.deliver import Deliverer, Judge, Receiver
from alerts.http import Http
from alerts.notifiers import RESEND_S
from alerts.notifiers.webhook import WebhookConfig
from alerts.outbox import OutboxRow, Settled
from alerts.secret import Secret
from tests.harness.outbox import MemoryOutbox

START_S = 1_763_424_000.0


def alert(alert_id: str, *, run: str = "r", text: str = "epoch 4, batch 32") -> Alert:
    """An alert of a run."""
    return Alert(
        id=alert_id,
        name="incident_opened",
        severity="critical",
        labels={"run": run},
        title="non-finite batches",
        text=text,
        started_s=START_S,
    )


def webhook_to(url: str, name: str = "ops", *, secrets: tuple[str, ...] = (), timeout_s: float = 5.0) -> Receiver:
    """A webhook receiver."""
    config = WebhookConfig(url=Secret(url), secrets=tuple(Secret(s) for s in secrets), timeout_s=timeout_s)
    return Receiver(name=name, kind="webhook", config=config)


@dataclass
class Delivery:
    """A running Deliverer over an outbox in memory. `settled` is what it reported, in order."""

    receivers: dict[str, Receiver]
    http: Http | None = None
    now_s: float = START_S
    clock: Callable[[], float] | None = None  # None: `now_s`, which only tests move
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    settled: list[tuple[str, str, Settled]] = field(default_factory=list)
    judge: Judge | None = None
    resend_s: float = RESEND_S

    def __post_init__(self) -> None:
        self.deliverer = Deliverer(
            self.outbox,
            lambda row: self.receivers.get(row.receiver),
            self.clock or (lambda: self.now_s),
            self._on_settled,
            http=self.http,
            jitter=lambda: 0.0,
            judge=self.judge,
            resend_s=self.resend_s,
        )

    def _on_settled(self, row: OutboxRow, outcome: Settled) -> None:
        self.settled.append((row.alert.id, row.receiver, outcome))

    def store(self, alert: Alert, receiver: str = "ops") -> None:
        """Add a row for a receiver, and wake the deliverer."""
        self.outbox.store(alert, receiver, self.now_s)
        self.deliverer.wake()

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds
        self.deliverer.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Delivery]:
        """The deliverer runs within; afterwards it is cancelled."""
        task = asyncio.create_task(self.deliverer.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # what we just asked for
                await task

    def advance_to_due(self) -> None:
        """Time jumps to when the first waiting row is due again."""
        self.advance(max(0.0, min((row.next_s for row in self.outbox.rows.values()), default=0.0) - self.now_s))

    async def until(self, what: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait, one change of the outbox after the other, until `what` holds. Raises TimeoutError."""
        with anyio.fail_after(seconds):
            while not what():
                await self.outbox.changed.wait()
                self.outbox.changed.clear()
