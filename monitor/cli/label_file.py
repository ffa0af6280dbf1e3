"""The file of labels that a backtest or a search is given. Reads files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monitor.cli.failure import EXIT_USAGE, Failure, why
from monitor.recorded.backtest.labelled_runs import Label, LabelsError, read_labels


def labels_by_path(file: Path, paths: Sequence[str] | None) -> dict[str, Label]:
    """The label of each of `paths`, which the file names relative to its own folder; of all its own where None.

    Raises Failure where the file can't be used, or has a label for none of them.
    """
    try:
        labels = read_labels(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(
            f"{file}: can't be read as text ({why(error)}); name a CSV with path and label", EXIT_USAGE
        ) from error
    except LabelsError as error:
        raise Failure(str(error), EXIT_USAGE) from error
    if paths is None:
        return {str(file.parent / label.path): label for label in labels}
    by_place = {(file.parent / label.path).resolve(): label for label in labels}
    found = {path: by_place[place] for path in paths if (place := Path(path).resolve()) in by_place}
    if not found:
        raise Failure(
            f"{file}: none of the files has a label in it; its paths are relative to its own folder", EXIT_USAGE
        )
    return found
