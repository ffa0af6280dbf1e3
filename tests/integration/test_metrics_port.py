"""The second port, for metrics alone; and what the daemon tells systemd."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitor.cli.serve import PORT_MAX
from monitor.daemon.systemd import Systemd
from tests.harness.night_run import CONSOLE, environment_of_home, fresh_home, says_one_sentence, trainwarden
from tests.harness.prometheus import free_port
from tests.harness.supervisor import eventually

TOKEN = "a-token-of-the-scraper"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for 127.0.0.1, with its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=path.parent, check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes((path.parent / "cert.pem").read_bytes() + (path.parent / "key.pem").read_bytes())
    return path


class Served:
    """`trainwarden serve` with a second port, under something that listens as systemd does."""

    def __init__(self, home: Path, *options: str) -> None:
        self.port = free_port()
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(home / "notify"))
        self._told.settimeout(20)
        more = {"NOTIFY_SOCKET": str(home / "notify"), "WATCHDOG_USEC": "600000"}
        self.process = subprocess.Popen(
            [*CONSOLE, "serve", "--port", "0", "--metrics-listen", f"127.0.0.1:{self.port}", *options],
            env=environment_of_home(home) | more, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def told(self) -> str:
        return self._told.recv(100).decode()

    def get(self, path: str, **more: object) -> httpx.Response:
        scheme = "https" if "verify" in more else "http"
        return httpx.get(f"{scheme}://127.0.0.1:{self.port}{path}", **more)  # type: ignore[arg-type]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._told.close()
        assert code == 0


@pytest.fixture(scope="module")
def served(certificate: Path) -> Iterator[Served]:
    with fresh_home() as home:
        token = home / "token"
        token.write_text(f"{TOKEN}\n")
        started = Served(home, "--metrics-token-file", str(token), "--tls-certificate", str(certificate))
        assert started.told() == "READY=1"
        yield started
        started.end()


def trusted(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.parent / "cert.pem"))


def test_it_shows_the_metrics_to_who_has_the_token_and_the_probes_to_everybody(
    served: Served, certificate: Path
) -> None:
    verify = trusted(certificate)
    assert served.get("/metrics", verify=verify).status_code == 401
    assert served.get("/metrics", verify=verify, headers={"authorization": "Bearer wrong"}).status_code == 401
    shown = served.get("/metrics", verify=verify, headers={"authorization": f"Bearer {TOKEN}"})
    assert shown.status_code == 200
    assert "trainwarden_build_info" in shown.text
    assert served.get("/-/healthy", verify=verify).status_code == 200
    assert served.get("/-/ready", verify=verify).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/api/v1/openapi.json", "/metrics/../api/v1/runs"])
def test_it_shows_nothing_else(served: Served, certificate: Path, path: str) -> None:
    answer = served.get(path, verify=trusted(certificate), headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 404


def test_the_watchdog_is_fed_and_the_end_is_announced(served: Served) -> None:
    assert served.told() == "WATCHDOG=1"
    with fresh_home() as home:
        other = Served(home)
        assert other.told() == "READY=1"
        other.process.send_signal(signal.SIGTERM)
        assert eventually("the end", lambda: other.told() == "STOPPING=1")
        other.end()


def test_what_systemd_set_is_no_childs_business() -> None:
    environment = {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    systemd = Systemd(environment)
    assert environment == {"A": "b"}
    assert systemd.watchdog_s == 5.0
    assert Systemd({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Systemd({}).watchdog_s is None


@pytest.mark.parametrize(
    "options",
    [
        ("--metrics-listen", "9470"),
        ("--metrics-listen", f"127.0.0.1:{PORT_MAX + 1}"),
        ("--metrics-token-file", __file__),
        ("--metrics-listen", "127.0.0.1:0", "--metrics-token-file", __file__),
    ],
    ids=["no host", "no port", "no address", "no token"],
)
def test_what_can_not_be_is_refused_in_a_sentence(home: Path, options: tuple[str, ...]) -> None:
    says_one_sentence(trainwarden(home, "serve", "--port", "0", *options), 2)


def test_an_address_or_a_certificate_that_can_not_be_used_is_refused(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = says_one_sentence(trainwarden(home, "serve", "--port", "0", "--metrics-listen", f"127.0.0.1:{port}"), 78)
    assert f"127.0.0.1:{port}" in said
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    options = ("--metrics-listen", "127.0.0.1:0", "--tls-certificate", str(broken))
    assert str(broken) in says_one_sentence(trainwarden(home, "serve", "--port", "0", *options), 78)


@pytest.fixture
def home() -> Iterator[Path]:
    with fresh_home() as folder:
        yield folder
