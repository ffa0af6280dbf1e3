"""A foreign log as the inputs of a core. Pure.

A log does not say which checkpoints there were: one is supposed at the end of each epoch (of CHECKPOINTS_MAX evenly
spread ones), sound unless its last row was not finite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitor.core.drive import RunDriver
from monitor.core.model import CheckpointExamined, Input, RunEnded, RunOpened, Verdict
from monitor.core.policy.settings import Policy
from monitor.recorded.backtest.replay import NewGeneration, Source, Step
from monitor.recorded.backtest.row_index import BEFORE
from monitor.recorded.importers.imported_run import ImportedRun, Row
from monitor.recorded.importers.records import GenerationBegins, records
from trainer_hooks.wire.messages import BatchEnded, CheckpointSaved
from trainer_hooks.wire.run_documents import Manifest, RunOutcome, RunSpec

RUN = "backtest"
CHECKPOINTS_MAX = 20  # of one log
SUPPOSED = ("supposed: the log does not say which checkpoints there were",)


def source_of(run: ImportedRun, policy: Policy) -> Source:
    """The log, ready to be fed: one row a second of virtual time."""
    source = Source(run.path, run.kind, run.granularity, RunDriver(RUN), truncated=run.truncated)
    source.steps = _steps(
        run, without(policy, "checkpoint_verdict", "checkpoint_retention", "checkpoint_age"), source.answers
    )
    return source


def without(policy: Policy, *detectors: str) -> Policy:
    """The policy without detectors whose evidence would be nothing but our own suppositions."""
    settings = policy.detectors.by_name()
    off = {name: settings[name].model_copy(update={"enabled": False}) for name in detectors}
    return policy.model_copy(update={"detectors": policy.detectors.changed(off)})


def _steps(run: ImportedRun, policy: Policy, answers: dict[str, Input]) -> Iterator[Step]:
    last = run.extent.last
    spec = RunSpec(run=RUN, title=run.path, argv=(), cwd="", created_s=0.0, act=True)
    yield Step(BEFORE, 0.0, RunOpened(spec, policy.model_dump_json()))
    keep = _checkpoint_epochs(run.extent.epoch_ends)
    count = 0
    for row, record in records(run):
        at_s = float(row.index)
        if isinstance(record, BatchEnded):
            count = record.counts.batches
            yield Step(row, at_s, record, count)
        elif isinstance(record, GenerationBegins):
            count = 0
            yield Step(row, at_s, NewGeneration(record.number))
            yield Step(row, at_s, record.started)
        else:
            yield Step(row, at_s, record)
            if (row.generation, row.epoch) in keep:
                digest = f"row {row.index}"
                sound = not row.nonfinite or row.overflow
                answers[digest] = supposed(RUN, row, digest, count, sound=sound)
                yield Step(row, at_s, CheckpointSaved(at_s, digest, row.epoch, digest))
    yield Step(last, float(last.index), RunEnded(RUN, RunOutcome.FINISHED, ""))


def _checkpoint_epochs(ends: Sequence[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """Evenly spread epochs at whose end a checkpoint is supposed."""
    kept = min(len(ends), CHECKPOINTS_MAX)
    return frozenset(ends[number * len(ends) // kept] for number in range(kept))


def supposed(run: str, row: Row, digest: str, count: int, *, sound: bool) -> CheckpointExamined:
    """What the vault would say of a checkpoint saved at this row."""
    manifest = Manifest(
        run=run,
        generation=row.generation,
        rank=0,
        ordinal=1,
        serial=1,
        file=digest,
        source="",
        digest=digest,
        size=0,
        epoch=row.epoch,
        batches=count,
        nonfinite_batches=0,
        is_best=False,
        saved_s=float(row.index),
    )
    return CheckpointExamined(
        run, manifest, digest, Verdict.SOUND if sound else Verdict.POISONED, SUPPOSED, 0.0, digest
    )
