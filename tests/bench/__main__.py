"""`make bench`: every measurement of this folder, one table after the other. Asserts nothing."""

from __future__ import annotations

import subprocess
import sys

from tests.bench import recovery

if __name__ == "__main__":
    print("What the hook adds to the training thread, and to a whole training", flush=True)
    for state in ("healthy", "stopped", "absent"):  # a process each: one has one connection
        subprocess.run([sys.executable, "-m", "tests.bench.overhead", "--daemon", state, *sys.argv[1:]], check=True)
    print("\nFrom the first NaN to the first batch of the new generation\n", flush=True)
    sys.exit(recovery.main([]))
