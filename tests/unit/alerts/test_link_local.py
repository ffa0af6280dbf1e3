"""No alert is sent to a link-local address, whatever the URL calls it, unless the policy allows it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import subprocess
import sys

import httpcore
import pytest
from pytest_httpserver import HTTPServer

from alerts import link_local
from alerts.guarded_transport import GuardedBackend
from alerts.http import Http, TransportError
from alerts.link_local import LinkLocalRefusedError, is_link_local
from alerts.secret import Secret


def post(url: str, link_local: bool = False) -> int:
    async def once() -> int:
        async with Http() as http:
            return (await http.post(Secret(url), b"{}", {}, 3.0, link_local=link_local)).status

    return asyncio.run(once())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.0.1", "169.254.255.255", "fe80::1", "fe80::1%eth0", "febf::1", "[fe80::1]",
        "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_every_spelling_of_a_link_local_address_is_one(host: str) -> None:
    assert is_link_local(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.253.1.1", "::1", "fec0::1", "example.org", "", "x%y"])
def test_other_addresses_and_names_are_not(host: str) -> None:
    assert not is_link_local(host)


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xA9FEA9FE", "169.254.43518", "[fe80::1]"])
def test_an_address_is_refused_however_it_is_written(host: str) -> None:
    """`socket.getaddrinfo` reads what `inet_aton` does."""
    with pytest.raises(TransportError, match="link-local"):
        post(f"http://{host}/latest/meta-data")


def test_a_name_is_judged_by_what_it_resolves_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its addresses is enough: the next connection may use it."""

    def both(host: object, port: int, *_: object, **__: object) -> list[object]:
        assert host in ("innocent.example", b"innocent.example")
        found = ("127.0.0.1", "169.254.169.254")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", both)  # the world's name servers, not our code

    async def connect() -> None:
        await GuardedBackend().connect_tcp("innocent.example", 9)

    with pytest.raises(LinkLocalRefusedError):
        asyncio.run(connect())


def test_a_redirect_to_a_link_local_address_is_not_followed(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook").respond_with_data("", 302, {"location": "http://169.254.169.254/latest"})
    assert post(httpserver.url_for("/hook")) == 302


def test_a_policy_may_allow_it(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test reaches loopback only: it stands for a link-local network here."""
    monkeypatch.setattr(link_local, "NETWORKS", (ipaddress.ip_network("127.0.0.0/8"),))
    httpserver.expect_request("/hook").respond_with_data("", 204)
    url = f"http://127.0.0.1:{httpserver.port}/hook"
    with pytest.raises(TransportError, match="link-local"):
        post(url)
    assert post(url, link_local=True) == 204


def test_the_proxy_of_the_environment_is_still_used(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/hook").respond_with_data("", 204)
    monkeypatch.setenv("HTTP_PROXY", httpserver.url_for("/"))
    monkeypatch.setenv("NO_PROXY", "")
    assert post("http://receiver.example/hook") == 204
    with pytest.raises(TransportError, match="link-local"):
        post("http://169.254.169.254/hook")


def test_every_address_of_a_name_is_tried() -> None:
    """`localhost` is ::1 first on many machines, and the receiver listens on 127.0.0.1 alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def connect() -> httpcore.AsyncNetworkStream:
            return await GuardedBackend().connect_tcp("localhost", listener.getsockname()[1], timeout=3.0)

        async def opened() -> None:
            await (await connect()).aclose()

        asyncio.run(opened())


WHO_IMPORTS = """
import asyncio, sys, threading
from alerts.http import Http, TransportError
from alerts.secret import Secret

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name == "httpx":
            print(threading.current_thread() is threading.main_thread())

async def once():
    async with Http() as http:
        await asyncio.gather(*(http.post(Secret("http://127.0.0.1:1/"), b"", {}, 3.0) for _ in range(3)),
                             return_exceptions=True)
        print(len(http._clients))

sys.meta_path.insert(0, Noting())
asyncio.run(once())
"""


def test_the_first_alert_does_not_hold_up_the_loop() -> None:
    """The client is imported in a thread, and made once: the loop takes the records of every run meanwhile."""
    done = subprocess.run([sys.executable, "-c", WHO_IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]
