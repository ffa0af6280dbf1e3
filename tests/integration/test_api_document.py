"""What the OpenAPI document says is what a real daemon does: schemathesis asks it, from a seed.

SCHEMATHESIS_CASES=450 asks that many times a route, about 10,000 requests: `make test-api`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from monitor.core.model import GenerationStarted
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.api.token import TOKEN_NAME
from tests.harness.real_daemon import DaemonProcess
from tests.harness.trainer import FakeTrainer, announce

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "16"))
SEED = int(os.environ.get("SCHEMATHESIS_SEED", "1"))
STREAM, LONG_POLL = "/api/v1/events", "/api/v1/runs/{run}/timeline"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    home = tmp_path_factory.mktemp("h")
    home.chmod(0o700)
    announce(home, "night")
    with DaemonProcess(home) as daemon:
        daemon.send(RunAnnounced("night"))
        with FakeTrainer(home, "night", 1, "n1", os.getpid()) as trainer:
            trainer.allocate(os.getpid(), os.getpid())
            daemon.send(GenerationStarted("night", 1, "n1", os.getpid(), os.getpid()))
            trainer.start()
            trainer.until_seen()
            trainer.batches(120)
            trainer.batches(4, nonfinite=4)
            yield daemon


def ask_all(operation: Any, send: Callable[[Case], None]) -> None:
    """Requests that the document allows, half of them about the run that there is, and requests that it forbids."""

    def about_night(case: Case) -> Case:
        if "run" in (case.path_parameters or {}):
            case.path_parameters["run"] = "night"
        return case

    valid = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    chosen = st.one_of(valid, operation.as_strategy().map(about_night), forbidden)

    @seed(SEED)
    @settings(max_examples=CASES, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=chosen)
    def ask(case: Case) -> None:
        send(case)

    ask()


def put_in_order(case: Case) -> None:
    """A range that begins after its end is refused (test_api_doors.py); no schema can say that of two parameters."""
    query = case.query or {}
    first, last = query.get("first", 1), query.get("last")
    if isinstance(first, int) and isinstance(last, int):
        case.query = {**query, "last": max(first, last)}


def test_every_answer_is_the_one_that_the_document_promises(daemon: DaemonProcess) -> None:
    """Valid and forbidden requests alike, over the port with the token: no 5xx, and nothing it does not describe."""
    print(f"SCHEMATHESIS_SEED={SEED} SCHEMATHESIS_CASES={CASES}")
    port = daemon.json("/api/v1/health")["port"]
    key = {"authorization": f"Bearer {(daemon.home / 'run' / TOKEN_NAME).read_text().strip()}"}
    schema = schemathesis.openapi.from_dict(daemon.json("/api/v1/openapi.json"))
    answered: Counter[int] = Counter()

    def send(case: Case) -> None:
        if case.operation.path == LONG_POLL:
            case.query = {name: value for name, value in (case.query or {}).items() if name != "wait_s"}
        put_in_order(case)
        # `ignored_auth` leaves the token where we put it: test_api_doors.py walks the table without one.
        base, left_out = f"http://127.0.0.1:{port}", [CHECKS.get_one("ignored_auth")]
        answer = case.call_and_validate(base_url=base, headers=key, timeout=20, excluded_checks=left_out)
        answered[answer.status_code] += 1

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path != STREAM:  # it never ends; tests/integration/test_live.py reads it
            ask_all(operation, send)
    print(sum(answered.values()), dict(answered))
    assert sum(answered.values()) > 10 * CASES
    assert {status for status in answered if status >= 500} == set()
    assert answered[200] > sum(answered.values()) / 20
    assert daemon.process is not None
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.output()
