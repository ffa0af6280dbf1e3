"""What the trainings of a generation left about their ends: claims and last counters in the run folder. Reads files."""

from __future__ import annotations

import os

from monitor.supervisor.run_documents import RunDocuments
from trainer_hooks.wire.document_io import RunFolderError, read
from trainer_hooks.wire.last_counts import LastCounts, read_last_counts
from trainer_hooks.wire.run_documents import TrainingClaim
from trainer_hooks.wire.runfolder import RunFolder
from trainer_hooks.wire.words import TrainingEnd


def crash_of(documents: RunDocuments, generation: int) -> str:
    """The exception of the last training of a generation; empty: there was none."""
    last = max(_of_rank_0(documents.folder, generation), key=lambda each: each.training, default=None)
    return last.detail if last is not None and last.how == TrainingEnd.EXCEPTION else ""


def left_unended(documents: RunDocuments, generation: int) -> bool:
    """True where a training of a generation began and reported no end, as in a process that is killed."""
    begun = {training for training, number, _ in documents.folder.claimed() if number == generation}
    return bool(begun - {each.training for each in _of_rank_0(documents.folder, generation) if each.how})


def training_is_over(folder: RunFolder, training: int, generation: int) -> bool:
    """True where it has reported its end, other than by an order, or its process is gone."""
    last = next((each for each in _of_rank_0(folder, generation) if each.training == training), None)
    if last is not None and last.how:
        return last.how != TrainingEnd.ORDER
    try:
        os.kill(read(folder.claim(training, generation), TrainingClaim).pid, 0)
    except ProcessLookupError:
        return True
    except (RunFolderError, OSError):  # no claim to read, or somebody else's process
        return False
    return False


def _of_rank_0(folder: RunFolder, generation: int) -> list[LastCounts]:
    return [each for each in read_last_counts(folder, generation) if each.rank == 0]
