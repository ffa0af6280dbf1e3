"""Who may do what over the port: walked along the whole table of routes of a real daemon."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import _trainwarden
from monitor.core.model.channel import RunAnnounced
from monitor.daemon.api.token import READ_TOKEN_NAME, TOKEN_NAME
from tests.harness.real_daemon import DaemonProcess
from tests.harness.trainer import announce

OPEN = {"/metrics", "/-/healthy", "/-/ready", "/-/enter", "/api/v1/openapi.json", "/", "/assets/{name}"}
LOCAL = "Only over the Unix socket"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    home = tmp_path_factory.mktemp("h")
    home.chmod(0o700)
    announce(home, "night")
    with DaemonProcess(home) as daemon:
        daemon.send(RunAnnounced("night"))
        yield daemon


@pytest.fixture(scope="module")
def address(daemon: DaemonProcess) -> str:
    return f"http://127.0.0.1:{daemon.json('/api/v1/health')['port']}"


def table(daemon: DaemonProcess) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every route."""
    paths = daemon.json("/api/v1/openapi.json")["paths"]
    return [(method.upper(), path, about) for path, methods in paths.items() for method, about in methods.items()]


def bearer(daemon: DaemonProcess, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {(daemon.home / 'run' / name).read_text().strip()}"}


def asked(method: str, url: str, headers: dict[str, str]) -> int:
    """The status of the answer; a stream is not read."""
    with httpx.stream(method, url, headers=headers, timeout=10.0) as answer:
        return answer.status_code


def url_of(address: str, path: str) -> str:
    return address + re.sub(r"{run}", "night", path).replace("{", "").replace("}", "")


def test_no_route_but_the_open_ones_answers_without_a_token_and_none_that_changes_something(
    daemon: DaemonProcess, address: str
) -> None:
    routes = table(daemon)
    assert sum(method != "GET" for method, _, _ in routes) >= 3
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": f"Bearer {'0' * 64}"},
        {"authorization": "Bearer"},
        {"cookie": f"trainwarden_{address[-5:]}=9999999999.{'0' * 64}"},
    ]
    for method, path, _ in routes:
        answers = {asked(method, url_of(address, path), headers) for headers in wrong}
        if method == "GET" and path in OPEN:
            assert not answers & {401}, path
        else:
            assert answers <= {401, 403}, (method, path, answers)


def test_the_read_token_reads_and_changes_nothing(daemon: DaemonProcess, address: str) -> None:
    key = bearer(daemon, READ_TOKEN_NAME)
    for method, path, about in table(daemon):
        status = asked(method, url_of(address, path), key)
        if method != "GET":
            assert status == 403, (method, path)
        elif LOCAL in about["description"]:
            assert status in {403, 404}, path
        else:
            assert status not in {401, 500}, path
    assert httpx.get(f"{address}/api/v1/access", headers=key).json() == {"may_change": False}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"])
def test_a_foreign_page_is_refused_whatever_it_sends(daemon: DaemonProcess, address: str, origin: str) -> None:
    key = bearer(daemon, TOKEN_NAME) | {"origin": origin}
    assert asked("GET", f"{address}/api/v1/runs", key) == 403
    assert asked("POST", f"{address}/api/v1/runs/night/orders", key) == 403


def page_link(daemon: DaemonProcess, *arguments: str) -> str:
    """What `trainwarden page` prints."""
    command = _trainwarden.child_command("_trainwarden", "page", *arguments)
    environment = {"TRAINWARDEN_HOME": str(daemon.home), "PATH": "/usr/bin:/bin", "HOME": str(daemon.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=daemon.home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_link_of_the_command_lets_a_browser_in_once(daemon: DaemonProcess, address: str) -> None:
    link = page_link(daemon)
    with httpx.Client() as browser:
        assert browser.head(link).status_code == 403, "a look ahead does not use it up"
        entered = browser.get(link)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
        assert browser.get(f"{address}/api/v1/access").json() == {"may_change": True}
        ask = f"{address}/api/v1/runs/night/orders"
        assert browser.post(ask, json={"kind": "stop"}).status_code == 403, "no Origin: not sent by a page of ours"
        assert browser.post(ask, json={"kind": "stop"}, headers={"origin": "http://evil.example"}).status_code == 403
        assert browser.post(ask, json={"kind": "stop"}, headers={"origin": address}).status_code == 200
        refused = browser.post(ask, json={"kind": "rollback"}, headers={"origin": address})
        assert (refused.status_code, "supervisor" in refused.json()["detail"]) == (409, True)
    assert httpx.get(link).status_code == 403
    shown = httpx.get(link, headers={"accept": "text/html,*/*"})
    assert (shown.status_code, shown.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "<code>trainwarden page</code>" in shown.text


def test_a_view_only_link_lets_look_and_ends_with_its_token(daemon: DaemonProcess, address: str) -> None:
    with httpx.Client() as browser:
        browser.get(page_link(daemon, "--view-only"))
        assert browser.get(f"{address}/api/v1/runs").status_code == 200
        refused = browser.post(
            f"{address}/api/v1/runs/night/orders", json={"kind": "stop"}, headers={"origin": address}
        )
        assert refused.status_code == 403
        cookie = dict(browser.cookies)
    (daemon.home / "run" / READ_TOKEN_NAME).unlink()
    daemon.kill()
    daemon.start()
    again = f"http://127.0.0.1:{daemon.json('/api/v1/health')['port']}"
    [value] = cookie.values()
    name = f"trainwarden_{again.rpartition(':')[2]}"
    assert asked("GET", f"{again}/api/v1/runs", {"cookie": f"{name}={value}"}) == 401


def test_an_address_that_the_user_named_is_answered_and_no_other(daemon: DaemonProcess) -> None:
    port = daemon.json("/api/v1/health")["port"]
    key = bearer(daemon, TOKEN_NAME)
    at = {"host": "box.example", "origin": "https://box.example"}
    assert asked("GET", f"http://127.0.0.1:{port}/api/v1/runs", key | at) == 421
    assert page_link(daemon, "--at", "https://box.example").startswith("https://box.example/-/enter?code=")
    assert asked("GET", f"http://127.0.0.1:{port}/api/v1/runs", key | at) == 200
    assert asked("GET", f"http://127.0.0.1:{port}/api/v1/runs", key | at | {"host": "other.example"}) == 421
    for wrong in ("box.example", "https://box.example/path", "ftp://x", "https://u:p@x"):
        assert daemon.request("POST", "/api/v1/links", {"at": wrong}).status_code == 422


def test_a_list_is_read_in_parts_and_an_answer_that_is_known_is_not_sent_again(daemon: DaemonProcess) -> None:
    for name in ("a", "b", "c"):
        announce(daemon.home, name)
        daemon.send(RunAnnounced(name))
    whole = daemon.json("/api/v1/runs")
    seen, path = [], "/api/v1/runs?limit=2"
    while path:
        answer = daemon.get(path)
        assert answer.headers["x-total-count"] == str(len(whole))
        seen += answer.json()
        path = answer.links["next"]["url"].partition("trainwarden")[2] if answer.links else ""
    assert seen == whole
    tag = daemon.get("/api/v1/runs/a").headers["etag"]
    again = daemon.request("GET", "/api/v1/runs/a", headers={"if-none-match": f'"x", {tag}'})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "query", ["limit=2&limit=3", "limit=0", "limit=1001", "limit=x", "offset=-1", "color=red", "limit=2.5"]
)
def test_a_parameter_that_is_unknown_doubled_or_out_of_range_is_refused(daemon: DaemonProcess, query: str) -> None:
    answer = daemon.get(f"/api/v1/runs?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize("what", ["chart", "curves"])
def test_a_range_of_batches_that_ends_before_it_begins_is_refused(daemon: DaemonProcess, what: str) -> None:
    answer = daemon.get(f"/api/v1/runs/night/{what}?first=5&last=2")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["detail"] == (
        f"/api/v1/runs/night/{what}: first='5', last='2': the range ends before it begins: `last` must be `first` (5) "
        "or more"
    )
    assert daemon.get(f"/api/v1/runs/night/{what}?first=5&last=5").status_code == 200


def test_a_whole_number_may_come_with_a_point(daemon: DaemonProcess) -> None:
    body = b'{"type":"generation_started","run":"night","number":1.0,"nonce":"n","pid":566.0,"shim_pid":566.0}'
    path = daemon.home / "run" / "api.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://x") as client:
        answer = client.post("/api/v1/runs/night/inputs", content=body)
    assert answer.status_code == 200, answer.text


def test_the_documents_say_nothing_of_secrets(daemon: DaemonProcess, tmp_path: Path) -> None:
    secrets = [bearer(daemon, name)["authorization"][7:] for name in (TOKEN_NAME, READ_TOKEN_NAME)]
    texts = [daemon.output(), *(daemon.get(path).text for path in ("/metrics", "/api/v1/runs", "/api/v1/openapi.json"))]
    assert not any(secret in text for secret in secrets for text in texts)
