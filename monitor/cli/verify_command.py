"""`trainwarden verify`: checks one checkpoint, a file or a folder of files."""

from __future__ import annotations

from collections.abc import Callable
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
    do not need. Of a folder each checkpoint file in it is checked, and the exit code is that of the worst.
    """
    import msgspec

    from monitor.core.model import Verdict
    from monitor.vault.folder import examine_folder, files_in, verdict_of
    from monitor.vault.verify import describe, examine

    if file.is_dir() and digest is None and _files(file, files_in):
        found = examine_folder(file.resolve())
        click.echo(
            msgspec.json.encode(found).decode()
            if as_json
            else "\n".join(f"{name}: {describe(one)}" for name, one in found.items())
        )
        verdict = verdict_of(found)
    else:
        _check_readable(file)
        examination = examine(file.resolve(), digest)
        click.echo(msgspec.json.encode(examination).decode() if as_json else describe(examination))
        verdict = examination.verdict
    return {Verdict.SOUND: 0, Verdict.POISONED: EXIT_POISONED}.get(verdict, EXIT_UNVERIFIED)


def _files(folder: Path, files_in: Callable[[Path], list[Path]]) -> list[Path]:
    try:
        return files_in(folder)
    except OSError as error:
        raise Failure(f"{folder}: can't be read ({error.strerror}); name a checkpoint", EXIT_USAGE) from error


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise Failure(f"{file}: can't be read ({error.strerror}); name a checkpoint file", EXIT_USAGE) from error
