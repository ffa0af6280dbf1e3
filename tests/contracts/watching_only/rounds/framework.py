"""What Rounds is, as data."""

from __future__ import annotations

from trainer_hooks.wire.framework_description import Framework, SettingNames

FRAMEWORK = Framework(
    name="rounds",
    title="Rounds",
    supported="every release",
    settings=SettingNames(
        learning_rate="lr", learning_rates=("lr",), momentum="momentum", weight_decay="", warmup_epochs=""
    ),
)
