"""What a user reads when something can't be done: a sentence with its remedy, and an exit code; no traceback."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any

import click

from monitor.errors import EXIT_CONFIG, EXIT_SOFTWARE

EXIT_USAGE = 2
EXIT_UNREACHABLE = 69  # EX_UNAVAILABLE: no daemon answers


class Failure(click.ClickException):
    """A sentence for the user and the exit code that goes with it."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"trainwarden: {self.message}", file=file or sys.stderr)


def why(error: OSError | ValueError) -> str:
    """What is wrong with a file, without the number of the error and the file's name."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause such as `; did you mean 'stop'?` where something known is close to `name`, else an empty text."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(found) for found in close)}?" if close else ""


@contextlib.contextmanager
def daemon_failures() -> Iterator[None]:
    """Turns what can go wrong between us and the daemon into a Failure."""
    from monitor.client.http import DeclinedError, UnreachableError
    from trainer_hooks.wire.document_io import RunFolderError

    try:
        yield
    except UnreachableError as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    except DeclinedError as error:
        raise Failure(str(error), EXIT_USAGE if error.status < 500 else EXIT_SOFTWARE) from error
    except RunFolderError as error:
        raise Failure(str(error), EXIT_CONFIG) from error
