"""A daemon that sends no alert does without the HTTP client: it takes a fifth of the start to import."""

from __future__ import annotations

import subprocess
import sys


def test_the_http_client_is_imported_for_the_first_alert_only() -> None:
    code = "import sys, monitor.daemon.assembly; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
