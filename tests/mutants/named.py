"""Changes that passed every test once. Each must fail one; where the text of the code has moved, so must `old` here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNIT = "tests/unit/monitor/"


@dataclass(frozen=True, slots=True)
class Named:
    """One change, and the tests of which one must fail."""

    name: str
    file: str
    old: str  # stands in the file exactly once
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file with this change. Raises ValueError where `old` is not there, or not once."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} holds the text {self.old!r} {text.count(self.old)} times and not once; "
                f"write in tests/mutants/named.py what stands there now"
            )
        return text.replace(self.old, self.new)


NAMED = (
    Named(
        "the cool-down is ignored",
        "monitor/core/policy/go_back.py",
        "if leader.counts.batches - last.count >= pause:",
        "if True:",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "an ended run never leaves",
        "monitor/core/state/fold.py",
        "if run.ended_s is not None and fleet.now_s - max(run.ended_s, run.restored_s) > RETENTION_S:",
        "if False:",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "no limit of series in the metrics",
        "monitor/daemon/metrics/exposition.py",
        "if len(shown) + fixed > room:",
        "if False:",
        (f"{UNIT}test_metrics.py",),
    ),
    Named(
        "a gap in the journal is not reported",
        "monitor/history/recall.py",
        "if entries and entries[0].seq != seq + 1:",
        "if False:",
        (f"{UNIT}test_history.py",),
    ),
    Named(
        "learned snapshots are never dropped",
        "monitor/core/state/checkpoints.py",
        "older.learned = None",
        "pass",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "the training is ignored when a checkpoint is chosen",
        "monitor/core/policy/trust.py",
        "and (started is None or c.ordinal == started.ordinal)",
        "",
        (f"{UNIT}test_trust.py",),
    ),
    Named(
        "the training is ignored when a checkpoint is chosen, as the whole core shows",
        "monitor/core/policy/trust.py",
        "and (started is None or c.ordinal == started.ordinal)",
        "",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "a record of another training is taken for the first one's",
        "monitor/core/state/fold.py",
        "training = run.trainings.get(given.training)\n    if given.generation",
        "training = run.trainings.get(1)\n    if given.generation",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "an examined checkpoint is taken for one of the training that began last",
        "monitor/core/state/fold.py",
        "of = run.trainings.get(given.manifest.training)",
        "of = training",
        (f"{UNIT}test_rules_of_acting.py",),
    ),
    Named(
        "the training is ignored when its best is chosen",
        "monitor/core/policy/trust.py",
        "and c.ordinal == checkpoint.ordinal and c.epoch",
        "and c.epoch",
        (f"{UNIT}test_trust.py",),
    ),
    Named(
        "no snapshot at incidents",
        "monitor/daemon/pipeline.py",
        "if not moved and 0.0 <=",
        "if 0.0 <=",
        (f"{UNIT}test_pipeline.py",),
    ),
)


def in_place(root: Path) -> list[str]:
    """What can't be applied to the code as it is now, as sentences."""
    troubles = []
    for named in NAMED:
        try:
            named.applied((root / named.file).read_text())
        except (OSError, ValueError) as error:
            troubles.append(f"{named.name}: {error}" if isinstance(error, OSError) else str(error))
    return troubles
