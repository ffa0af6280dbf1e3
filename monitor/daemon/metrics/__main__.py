"""Writes the reference of the metrics: `python -m monitor.daemon.metrics docs/metrics.md` (`make docs`)."""

from __future__ import annotations

import sys
from pathlib import Path

from monitor.daemon.metrics.metric_reference import reference


def main(path: str) -> None:
    """Write the file anew."""
    Path(path).write_text(reference())


if __name__ == "__main__":
    main(sys.argv[1])
