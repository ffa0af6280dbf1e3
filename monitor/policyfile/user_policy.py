"""The policy of a user: the file that holds where no other is named. Reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

from trainer_hooks.wire.runfolder import ENV_HOME


def user_policy() -> Path:
    """$TRAINWARDEN_HOME/policy.yaml, or trainwarden/policy.yaml in the XDG configuration folder."""
    return config_folder() / "policy.yaml"


def config_folder() -> Path:
    """The folder of that file; secrets of receivers lie beside it."""
    if home := os.environ.get(ENV_HOME):
        return Path(home)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "trainwarden"
