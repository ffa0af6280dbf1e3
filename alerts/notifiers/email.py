"""Sends a mail, with the picture of the loss; the mails of one incident are one conversation. Opens a socket."""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Annotated, Literal

import anyio
import anyio.to_thread
import msgspec

from alerts.alert import Alert
from alerts.http import NAME_UNKNOWN, Http
from alerts.link_local import LinkLocalRefusedError, is_link_local
from alerts.notifiers import Outcome, Sent, TimeoutS, about, register
from alerts.posting import shown
from alerts.secret import Secret

SUBJECT_CHARS, TEXT_CHARS = 200, 16_000
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class EmailConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A mail, through an SMTP server: its name, the sender's address, and a list of recipients."""

    host: Annotated[str, about("This is the name of the mail server (SMTP).", not_empty=True)]
    sender: Annotated[str, about("This is the address that mails come from.", not_empty=True)]
    to: Annotated[tuple[str, ...], about("These are the addresses that get each mail.", not_empty=True)]
    port: Annotated[
        int,
        msgspec.Meta(ge=1, le=65535, description="This is the port of the mail server: 587 for starttls, 465 for tls."),
    ] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        about("This is how the connection is encrypted. With none, a password is sent to this machine only."),
    ] = "starttls"
    user: Annotated[str, about("This is the name to log in with, for a server that asks for one.", asked=True)] = ""
    password: Annotated[Secret | None, about("This is the password of that login.", asked=True)] = None
    timeout_s: TimeoutS = 20.0

    def __post_init__(self) -> None:
        if bool(self.user) != (self.password is not None):
            raise ValueError("'user' and 'password' belong together; write both, or none for a server without a login")
        if self.user and self.security == "none" and self.host not in LOOPBACK:
            raise ValueError("security: none would send the password in clear; write starttls or tls")


@register("email", EmailConfig)
async def email(alert: Alert, config: EmailConfig, http: Http, now_s: float) -> Sent:
    """One try, in a thread of its own, which is left behind where the server says nothing."""
    try:
        with anyio.fail_after(config.timeout_s):
            return await anyio.to_thread.run_sync(
                _send, message_of(alert, config, now_s), config, abandon_on_cancel=True
            )
    except TimeoutError:
        return Sent(Outcome.RETRY, f"no answer within {config.timeout_s:g} s")


def message_of(alert: Alert, config: EmailConfig, now_s: float) -> EmailMessage:
    """The mail. Its id is made of the alert's, so that a repeat is recognised."""
    mail = EmailMessage()
    mail["From"], mail["To"] = config.sender, ", ".join(config.to)
    mail["Subject"] = " ".join(shown(alert.title, SUBJECT_CHARS).split()) or "trainwarden"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_s, timezone.utc))
    mail["Message-ID"] = _id(alert.id)
    if alert.thread:  # the root is a mail that nobody got: so the first one needs not to be known
        mail["In-Reply-To"] = mail["References"] = _id(alert.thread)
    if alert.severity == "critical":
        mail["Importance"] = "high"
    mail.set_content("\n\n".join(part for part in (shown(alert.text, TEXT_CHARS), alert.url) if part))
    if alert.picture:
        mail.add_attachment(alert.picture, maintype="image", subtype="png", filename="loss.png")
    return mail


def _id(text: str) -> str:
    return f"<{hashlib.sha256(text.encode()).hexdigest()[:32]}@trainwarden.invalid>"


class _Guarded(smtplib.SMTP):
    """Resolves the name once, and connects to no link-local address."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        addresses = dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if any(map(is_link_local, addresses)):
            raise LinkLocalRefusedError
        failed: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), timeout)
            except OSError as error:
                failed = error
        raise failed


class _GuardedTls(_Guarded, smtplib.SMTP_SSL):
    """The same, where TLS comes first; the certificate is still checked against the name."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        return self.context.wrap_socket(plain, server_hostname=host)


def _send(mail: EmailMessage, config: EmailConfig) -> Sent:
    try:
        return _handed_over(mail, config)
    except LinkLocalRefusedError:
        return Sent(Outcome.REFUSED, "the address of the mail server is link-local; nothing was sent")
    except (smtplib.SMTPException, OSError) as error:
        return _problem(error)


def _handed_over(mail: EmailMessage, config: EmailConfig) -> Sent:
    where, secure = (config.host, config.port), ssl.create_default_context()
    with (
        _GuardedTls(*where, timeout=config.timeout_s, context=secure)
        if config.security == "tls"
        else _Guarded(*where, timeout=config.timeout_s)
    ) as server:
        if config.security == "starttls":
            server.starttls(context=secure)
        if config.password is not None:
            server.login(config.user, config.password.reveal())
        server.send_message(mail)
    return Sent(Outcome.OK)


def _problem(error: Exception) -> Sent:  # noqa: PLR0911 - a table
    """In words of ours: a server's own may repeat what we sent."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return Sent(Outcome.RETRY, "the mail server refused the login")
        case smtplib.SMTPRecipientsRefused():
            final = all(code >= 500 for code, _ in error.recipients.values())
            return Sent(Outcome.REFUSED if final else Outcome.RETRY, "the mail server refused every recipient")
        case smtplib.SMTPResponseException():
            return Sent(Outcome.REFUSED if error.smtp_code >= 500 else Outcome.RETRY, f"SMTP {error.smtp_code}")
        case ssl.SSLError():
            return Sent(Outcome.RETRY, "TLS failed")
        case socket.gaierror():
            return Sent(Outcome.RETRY, NAME_UNKNOWN)
        case ConnectionRefusedError():
            return Sent(Outcome.RETRY, "could not connect")
    return Sent(Outcome.RETRY, f"could not be sent ({type(error).__name__})")
