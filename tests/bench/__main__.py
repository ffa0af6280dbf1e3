"""`make bench`: every measurement of this folder, one table after the other. Asserts nothing."""

from __future__ import annotations

import sys

from tests.bench import overhead, recovery

if __name__ == "__main__":
    print("What the hook adds to the training thread, and to a whole training\n", flush=True)
    overhead.main([])
    print("\nFrom the first NaN to the first batch of the new generation\n", flush=True)
    sys.exit(recovery.main([]))
