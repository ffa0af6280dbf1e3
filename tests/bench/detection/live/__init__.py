"""Small real trainings with faults put into them, recorded by the real hooks, as cases of the bench.

`cases` starts the children that train; they import torch, this package does not. `python -m tests.bench.detection.live`
records them alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from monitor.recorded.stream import Recorded, StreamError, read_stream
from tests.bench.detection.live.catalogue import Planned, deadline_s, groups
from tests.bench.detection.live.children import run_group, stream_path
from tests.bench.detection.live.steps import Seen, hang_limit_s, read_verdicts, steps_of, verdicts_path
from tests.bench.detection.streams import Case


def cases(seed: int, quick: bool, *, gpu: bool = False, keep: Path | None = None) -> Iterator[Case]:
    """Every live training as a case, healthy ones included; one that failed is a case with an `error` and no steps.

    `quick` runs a few for tests, in less than a minute. `gpu` adds those that need a CUDA device. `keep` is a folder
    that the recorded streams are left in; it must be empty or not there.
    """
    with tempfile.TemporaryDirectory(prefix="trainwarden-live-") as scratch:
        root = keep or Path(scratch)
        for number, group in enumerate(groups(seed, quick=quick, gpu=gpu)):
            folder = root / f"{number:02}"
            folder.mkdir(parents=True)
            errors = run_group([planned.experiment for planned in group], folder, deadline_s(group))
            for place, (planned, error) in enumerate(zip(group, errors, strict=True)):
                yield _case(planned, stream_path(folder, place), error)


def _case(planned: Planned, path: Path, error: str) -> Case:
    records: list[Recorded] = []
    verdicts: list[Seen] = []
    if not error:
        try:
            records = read_stream(path.read_bytes()).records
            verdicts = read_verdicts(verdicts_path(path).read_bytes())
        except (StreamError, msgspec.DecodeError) as failure:
            error = str(failure)
    experiment = planned.experiment
    onset = experiment.at if experiment.fault else None
    return Case(
        family=planned.family,
        fault=experiment.fault or experiment.kind,
        severity=planned.severity,
        lasts=planned.lasts,
        faulty=bool(experiment.fault),
        benign=False,
        onset=onset,
        steps=steps_of(records, verdicts),
        source="live",
        error=error,
        kind=experiment.kind,
        limit_s=hang_limit_s(records, onset) if experiment.fault == "hang" and onset is not None else None,
    )
