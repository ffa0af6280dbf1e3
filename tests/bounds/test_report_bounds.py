"""The limits of what a report shows."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.report.settings_section import SETTINGS_MAX, shown_settings
from tests.harness.trainer import training_started
from trainer_hooks.wire.runfolder import RunFolder


def test_settings_of_a_framework_that_names_none_are_shown_up_to_a_limit() -> None:
    many = {f"s{number:03}": "1" for number in reversed(range(SETTINGS_MAX + 5))}
    started = msgspec.structs.replace(training_started(RunFolder(Path("/runs/r"))), framework="unknown", settings=many)
    assert shown_settings(started) == [f"s{number:03}" for number in range(SETTINGS_MAX)]
