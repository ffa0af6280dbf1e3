"""Reports the progress of a run to Kubeflow Trainer, where it started the pod: `kubectl get trainjob` then shows it.

Its controller names the address, a certificate and a token's file in the environment (progress of a TrainJob, Kubeflow
Trainer 2.2: docs, "TrainJob progress"). Off everywhere else. Edge file: HTTP. What fails is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from alerts.http import Http, TransportError
from alerts.secret import Secret
from monitor.core.state import projection
from monitor.core.state.run import Fleet, RunState
from monitor.daemon.api.snapshots import eta_of
from trainer_hooks.wire.run_documents import RunOutcome

URL = "KUBEFLOW_TRAINER_SERVER_URL"
CERTIFICATE = "KUBEFLOW_TRAINER_SERVER_CA_CERT"  # a path
TOKEN = "KUBEFLOW_TRAINER_SERVER_TOKEN"  # noqa: S105 - the path of a file, which changes from time to time
EVERY_S = 10.0  # it asks for five seconds at least between two reports
LOOK_S = 1.0
TIMEOUT_S = 5.0
WHOLE = 100  # per cent

log = logging.getLogger("trainwarden.daemon")


class Kubeflow:
    """Reports while a run of this daemon trains."""

    def __init__(self, fleet: Callable[[], Fleet], now_s: Callable[[], float], environment: Mapping[str, str]) -> None:
        self._fleet, self._now_s = fleet, now_s
        self._url, self._certificate, self._token = (environment.get(name, "") for name in (URL, CERTIFICATE, TOKEN))
        self._reported: dict[str, Any] = {}
        self._failing = False

    async def run(self) -> None:
        """Report until cancelled; where nobody asks for it, wait for that."""
        if not self._url:
            await asyncio.Event().wait()
        context = ssl.create_default_context(cafile=self._certificate or None)
        async with Http(context) as http:
            while True:
                reported = await self._report(http)
                await asyncio.sleep(EVERY_S if reported else LOOK_S)

    async def _report(self, http: Http) -> bool:
        """False: there is nothing new to report."""
        runs = [run for run in self._fleet().runs.values() if run.training.position is not None]
        if not runs:
            return False
        status = status_of(max(runs, key=lambda run: run.opened_s), self._now_s())
        if status == self._reported:
            return False
        try:
            token = (await asyncio.to_thread(Path(self._token).read_text)).strip() if self._token else ""
            body = {"trainerStatus": {**status, "lastUpdatedTime": _time(self._now_s())}}
            headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
            reply = await http.post(Secret(self._url), msgspec.json.encode(body), headers, TIMEOUT_S)
            problem = "" if reply.status < 300 else f"HTTP {reply.status}"
        except (TransportError, OSError) as error:
            problem = str(error)
        if problem and not self._failing:
            log.warning("progress could not be reported to Kubeflow Trainer: %s", problem)
        self._failing, self._reported = bool(problem), {} if problem else status
        return True


def status_of(run: RunState, now_s: float) -> dict[str, Any]:
    """What Kubeflow Trainer takes, without the time: per cent, seconds that are left, metrics as texts."""
    training = run.going_on
    at, started, leader = training.position, training.started, training.ranks.get(0)
    status: dict[str, Any] = {}
    if run.ended == RunOutcome.FINISHED:
        status["progressPercentage"] = WHOLE
    elif at is not None and started is not None and started.epochs and started.batches_per_epoch:
        left = projection.remaining(at, started.epochs, started.batches_per_epoch).batches
        done = 1.0 - left / (started.epochs * started.batches_per_epoch)
        status["progressPercentage"] = min(max(int(WHOLE * done), 0), WHOLE - 1)
    eta_s = eta_of(run, now_s)[1]
    if eta_s is not None:
        status["estimatedRemainingSeconds"] = max(round(eta_s - now_s), 0)
    values = leader.last.values if leader and leader.last else {}
    shown = {name: values[name] for name in ("loss", "grad_norm") if math.isfinite(values.get(name, math.nan))}
    status["metrics"] = [{"name": name, "value": f"{value:.6g}"} for name, value in shown.items()]
    return status


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="seconds")
