"""`trainwarden verify`: checks one checkpoint file."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_USAGE, Failure

EXIT_POISONED = 1
EXIT_UNVERIFIED = 2


@click.command(cls=Command, examples=("trainwarden verify runs/detect/train/weights/last.pt",))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--digest", metavar="HEX", help="Fail unless the file has this sha256.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(file: Path, digest: str | None, as_json: bool) -> int:
    """Check a checkpoint file without torch and without running anything that is in it.

    Answers two questions. Are the numbers sound: is every weight, buffer and optimizer value finite, and did a
    framework hide damage by writing zeros over it (a zeroed BatchNorm, weights that are all zero)? And what would
    loading the file run? Exit code 0: sound. 1: poisoned. 2: not verified, or loading it would run what checkpoints
    do not need.
    """
    _check_readable(file)
    import msgspec

    from monitor.core.model import Verdict
    from monitor.vault.verify import describe, examine

    examination = examine(file.resolve(), digest)
    click.echo(msgspec.json.encode(examination).decode() if as_json else describe(examination))
    return {Verdict.SOUND: 0, Verdict.POISONED: EXIT_POISONED}.get(examination.verdict, EXIT_UNVERIFIED)


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise Failure(f"{file}: can't be read ({error.strerror}); name a checkpoint file", EXIT_USAGE) from error
