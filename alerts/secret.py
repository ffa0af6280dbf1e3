"""Values that must never be printed, and how they are read from text. Values only."""

from __future__ import annotations

import base64
import binascii

PREFIX = "whsec_"  # Standard Webhooks: base64 follows
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64  # Standard Webhooks
SECRETS_MAX = 2  # the new one and the old one, while receivers change over


class SecretError(Exception):
    """A signing secret can't be used. Never holds the secret."""


class Secret:
    """A text whose repr, str and format hide it. `reveal` is the only way to it; it can't be pickled or encoded."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret can't be pickled: it would lie in clear wherever the bytes go")


def secrets_in(text: str, where: str) -> tuple[Secret, ...]:
    """The signing secrets of a file's text, one a line, the newest first; blank lines and `#` comments are left out.

    Raises SecretError, naming `where`, for none, too many, or one that `key_bytes` refuses.
    """
    lines = [line.strip() for line in text.splitlines()]
    secrets = tuple(Secret(line) for line in lines if line and not line.startswith("#"))
    if not 1 <= len(secrets) <= SECRETS_MAX:
        raise SecretError(
            f"{where}: holds {len(secrets)} secrets; write one a line, and two only while you change them"
        )
    for number, secret in enumerate(secrets, start=1):
        try:
            key_bytes(secret)
        except SecretError as error:
            raise SecretError(f"{where}: secret {number}: {error}") from None
    return secrets


def key_bytes(secret: Secret) -> bytes:
    """The key of a `whsec_<base64>` secret, or any other text's UTF-8 bytes. Raises SecretError for a bad length."""
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else text.encode()
    except binascii.Error:
        raise SecretError(f"what follows {PREFIX} is not base64; copy it whole") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise SecretError(
            f"{len(key)} bytes; use {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}, e.g. from `openssl rand -hex 24`"
        )
    return key
