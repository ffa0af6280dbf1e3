"""The files that hold the signing secrets of webhooks. An edge file: reads them; shows nothing of what they hold."""

from __future__ import annotations

import stat
from pathlib import Path

from alerts.secret import Secret, SecretError, secrets_in
from monitor.core.policy.settings import Policy

SECRET_FILE_BYTES_MAX = 64 * 1024  # two secrets and their comments have some hundred


def read_secrets(name: str) -> tuple[Secret, ...]:
    """The signing secrets in a file, the newest first. Raises SecretError, which names the file and the remedy."""
    return secrets_in(read_secret_text(name), name)


def read_secret_text(name: str) -> str:
    """The text of a file that holds a secret. Raises SecretError, which names the file and the remedy."""
    try:
        path = Path(name).expanduser()
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > SECRET_FILE_BYTES_MAX:
            raise SecretError(
                f"{name}: must be a text file of 64 kB at most; write the secret into one, e.g. `openssl rand -hex 24`"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretError(f"{name}: can't be read ({error.strerror}); create it or correct the path") from error
    except UnicodeDecodeError:
        raise SecretError(f"{name}: is not UTF-8 text; write the secret as text") from None
    except (ValueError, RuntimeError) as error:  # a NUL in the name; a home folder that is not known
        raise SecretError(f"{name}: can't be read ({error}); correct the path") from error


def secret_problems(policy: Policy) -> list[str]:
    """One sentence for each webhook whose secret can't be used."""
    found = []
    for index, webhook in enumerate(policy.webhooks):
        if webhook.secret_file is None:
            continue
        try:
            read_secrets(webhook.secret_file)
        except SecretError as error:
            found.append(f"webhooks.{index}.secret_file: {error}")
    return found
