"""What a loop written by hand is: it has no files of its own, and its script names its settings as it likes.

A report shows every setting that `watch(settings=...)` was given. Those with one of the names below are understood.
"""

from __future__ import annotations

from trainer_hooks.wire.framework_description import Framework, SettingNames

FRAMEWORK = Framework(
    name="torch",
    title="PyTorch",
    supported="PyTorch 1.13 and newer",
    describes_others=True,
    settings=SettingNames(
        learning_rate="lr0",  # what `watch` fills in from the optimizer where the script gives none
        learning_rates=("lr0",),
        momentum="momentum",
        weight_decay="weight_decay",
        warmup_epochs="warmup_epochs",
        warmup_steps="warmup_steps",
        accumulation="gradient_accumulation_steps",
        final_share="lrf",
        cosine="cos_lr",
    ),
)
