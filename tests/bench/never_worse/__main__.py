"""Is a training ever worse off with trainwarden than without it? Real trainings of a tiny YOLO; prints tables.

`python -m tests.bench.never_worse [--seeds N] [--only ROW]... [--results FILE] [--keep FOLDER]`. Trainings that FILE
has are not run again, so that the tables can be made in parts. The exit code is 1 where trainwarden ends below the best
other column by more than the seeds differ, or changes a healthy training.

The columns:

- no protection: Ultralytics without its own recovery and without our hooks;
- guard that only skips: `trainwarden run` with `act: false`: the steps of bad batches are skipped, people are alerted;
- Ultralytics alone: with its own recovery. After each validation it looks at the last loss of the epoch; where that is
  not finite it loads last.pt and trains the epoch again, three times at most, and then ends the training;
- trainwarden: the default policy; trainwarden `rollback`: that preset.

Ultralytics' own recovery is off in the first column only.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.bench.never_worse import table
from tests.bench.never_worse.faults import ROWS
from tests.bench.never_worse.protections import Place, Protection, Result, train
from tests.bench.never_worse.training import IMAGES, VALIDATED
from tests.harness.yolo import go_offline, make_lab


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing, and print the table of everything there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=ROWS, action="append", help="a row; can be given again")
    parser.add_argument("--results", type=Path, help="where results are kept, one JSON document a line")
    parser.add_argument("--keep", type=Path, help="where data set, logs and trainings are kept")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tw-") as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        results_file = given.results or folder / "results.jsonl"
        lab = _lab(folder / "lab")
        known = _read(results_file)
        for seed, row, protection in itertools.product(range(1, given.seeds + 1), given.only or ROWS, Protection):
            if any((r.row, r.seed, r.protection) == (row, seed, protection) for r in known):
                continue
            place = Place(lab, folder / row / f"{protection.name.lower()}-{seed}")
            known.append(train(place, row, protection, seed))
            with results_file.open("ab") as file:
                file.write(msgspec.json.encode(known[-1]) + b"\n")
            print(f"{row}, seed {seed}, {protection}: {known[-1].last_map}", file=sys.stderr, flush=True)
    print(table.text_of(known))
    faults = table.faults_of(known)
    print("\n".join(faults))
    return int(bool(faults))


def _lab(folder: Path) -> Path:
    """Drawn once."""
    if not folder.exists():
        folder.mkdir(parents=True)
        go_offline(folder / "config")
        make_lab(folder, IMAGES, VALIDATED)
    return folder


def _read(path: Path) -> list[Result]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Result) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
