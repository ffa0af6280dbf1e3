"""`python -m monitor.policyfile FILE`: makes the generated tables of a document anew. Reads and writes files."""

from __future__ import annotations

import sys
from pathlib import Path

from monitor.policyfile.reference import with_tables


def main(paths: list[str]) -> None:
    """Rewrite each file in place."""
    for path in map(Path, paths):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
