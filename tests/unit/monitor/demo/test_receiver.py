"""The demo's webhook receiver, over a real socket."""

from __future__ import annotations

import httpx

from monitor.demo.receiver import AlertReceiver


def test_alerts_are_kept_in_the_order_they_came() -> None:
    with AlertReceiver() as receiver:
        codes = [httpx.post(receiver.url, json={"type": kind, "version": 1}).status_code for kind in ("a", "b", "a")]
        assert codes == [204, 204, 204]
        assert receiver.kinds(("a", "b"), timeout_s=5) == ("a", "b", "a")


def test_what_is_no_alert_is_refused_and_not_counted() -> None:
    with AlertReceiver() as receiver:
        assert httpx.post(receiver.url, content=b"nonsense").status_code == 400
        assert httpx.post(receiver.url, json={"kind": "a"}).status_code == 400
        assert receiver.kinds() == ()


def test_waiting_for_an_alert_that_never_comes_ends() -> None:
    with AlertReceiver() as receiver:
        assert receiver.kinds(("resolved",), timeout_s=0.05) == ()
