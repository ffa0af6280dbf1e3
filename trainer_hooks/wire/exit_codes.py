"""Exit codes that the training's process and its supervisor agree on. Importing this loads nothing else.

Three files can't import it and say the number again, and a test compares them: autoattach/sitecustomize.py, which must
work where this package can't be imported; attach.py, which every Python process loads and which must cost nothing; and
monitor/supervisor/exec_gate.py, which runs with `-I -S`.
"""

from __future__ import annotations

EXIT_HELD = 75  # EX_TEMPFAIL: the plan could not be followed, so nothing was trained; or the run is held
