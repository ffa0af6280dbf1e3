"""`python -m tests.bench.detection`."""

from __future__ import annotations

import sys

from tests.bench.detection.command import bench

if __name__ == "__main__":
    sys.exit(bench(sys.argv[1:]))
