"""Mail, against a real SMTP server on the loopback."""

from __future__ import annotations

import asyncio
import email as email_package
import socket
import ssl
import subprocess
from collections.abc import Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from alerts.alert import Alert
from alerts.http import Http
from alerts.notifiers import Outcome, Sent
from alerts.notifiers.email import EmailConfig, email
from alerts.secret import Secret
from monitor.report.loss_picture import loss_picture
from tests.harness.alerts import START_S, alert

PASSWORD = "P4SSW0RD"


class House:
    """Keeps what it gets; `answer` is what it says to a mail."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.answer = "250 taken"
        self.recipient = "250 known"

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, to: str, options: Any
    ) -> str:
        if self.recipient.startswith("250"):
            envelope.rcpt_tos.append(to)
        return self.recipient

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(email_package.message_from_bytes(envelope.content))
        return self.answer


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[House, int]]:
    """The server, and its port."""
    house = House()

    def authenticator(*arguments: Any) -> AuthResult:
        return AuthResult(success=arguments[-1].password == PASSWORD.encode(), handled=False)

    controller = Controller(
        house, "127.0.0.1", _free_port(), authenticator=authenticator, auth_require_tls=False, auth_required=False
    )
    controller.start()
    yield house, controller.port
    controller.stop()


@pytest.fixture
def house(running: tuple[House, int]) -> House:
    running[0].__init__()  # type: ignore[misc]  # as new for each test
    return running[0]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def config_of(port: int, **given: Any) -> EmailConfig:
    return EmailConfig(
        port=port, sender="gpu@example.org", to=("ana@example.org", "bo@example.org"),
        **{"host": "127.0.0.1", "timeout_s": 5.0, "security": "none", **given},
    )  # fmt: skip


def tried(config: EmailConfig, told: Alert) -> Sent:
    async def once() -> Sent:
        return await email(told, config, Http(), START_S)

    return asyncio.run(once())


def test_a_mail_arrives_with_title_text_and_picture(running: tuple[House, int], house: House) -> None:
    picture = loss_picture([(n, 2.0 + n % 3) for n in range(50)])
    told = msgspec.structs.replace(alert("r/7"), thread="r-i1", picture=picture, url="https://box.example.org/#/run/r")
    assert tried(config_of(running[1]), told) == Sent(Outcome.OK)
    [mail] = house.mails
    assert (mail["Subject"], mail["From"], mail["To"]) == (
        "non-finite batches", "gpu@example.org", "ana@example.org, bo@example.org",
    )  # fmt: skip
    text, attached = mail.get_payload()
    assert "epoch 4, batch 32" in text.get_payload()
    assert "https://box.example.org/#/run/r" in text.get_payload()
    assert attached.get_payload(decode=True) == picture


def test_a_repeat_has_the_same_id_and_mails_of_one_thread_are_one_conversation(
    running: tuple[House, int], house: House
) -> None:
    for alert_id in ("r/7", "r/7", "r/8"):
        tried(config_of(running[1]), msgspec.structs.replace(alert(alert_id), thread="r-i1"))
    first, again, other = house.mails
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert first["References"] == other["References"] == other["In-Reply-To"]
    assert parsedate_to_datetime(first["Date"]).timestamp() == START_S


def test_a_hostile_title_becomes_no_header(running: tuple[House, int], house: House) -> None:
    told = msgspec.structs.replace(alert("r/7"), title="a\r\nBcc: evil@example.org\r\n\r\n<b>x\u202e")
    assert tried(config_of(running[1]), told) == Sent(Outcome.OK)
    [mail] = house.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == "a Bcc: evil@example.org <b>x"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("451 later", Outcome.RETRY), ("554 never", Outcome.REFUSED)],
)
def test_what_the_server_says_decides_whether_it_is_tried_again(
    running: tuple[House, int], house: House, answer: str, outcome: Outcome
) -> None:
    house.answer = answer
    assert tried(config_of(running[1]), alert("r/7")).outcome is outcome
    house.answer, house.recipient = "250 ok", answer
    assert tried(config_of(running[1]), alert("r/7")).outcome is outcome


def test_a_wrong_password_is_tried_again_and_never_said(running: tuple[House, int], house: House) -> None:
    wrong = tried(config_of(running[1], user="ana", password=Secret("WR0NG")), alert("r/7"))
    assert wrong == Sent(Outcome.RETRY, "the mail server refused the login")
    right = tried(config_of(running[1], user="ana", password=Secret(PASSWORD)), alert("r/7"))
    assert right == Sent(Outcome.OK)


def test_a_password_is_never_sent_in_clear_over_a_network_and_a_login_is_whole() -> None:
    with pytest.raises(ValueError, match="in clear"):
        config_of(25, host="mail.example.org", user="ana", password=Secret(PASSWORD))
    with pytest.raises(ValueError, match="belong together"):
        config_of(25, user="ana")
    assert config_of(25, host="mail.example.org", user="ana", password=Secret(PASSWORD), security="tls")


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_link_local_address_is_never_connected_to(security: str) -> None:
    sent = tried(config_of(25, host="169.254.169.254", security=security), alert("r/7"))
    assert sent == Sent(Outcome.REFUSED, "the address of the mail server is link-local; nothing was sent")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_over_tls_whose_certificate_is_checked(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    house = House()
    secure = {"tls": {"ssl_context": context}, "starttls": {"tls_context": context, "require_starttls": True}}
    controller = Controller(house, "localhost", _free_port(), **secure[security])
    controller.start()
    config = config_of(controller.port, host="localhost", security=security)
    try:
        assert tried(config, alert("r/7")) == Sent(Outcome.RETRY, "TLS failed")  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert tried(config, alert("r/7")) == Sent(Outcome.OK)
    finally:
        controller.stop()
    assert len(house.mails) == 1


def test_a_server_that_is_down_or_silent_or_without_tls_is_tried_again(running: tuple[House, int]) -> None:
    assert tried(config_of(_free_port()), alert("r/7")).outcome is Outcome.RETRY
    assert tried(config_of(running[1], security="starttls"), alert("r/7")).outcome is Outcome.RETRY
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sent = tried(config_of(silent.getsockname()[1], timeout_s=0.2), alert("r/7"))
    assert sent.outcome is Outcome.RETRY
