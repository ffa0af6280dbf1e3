"""What Ultralytics is: its files, the keys of its checkpoints, the names of its settings. Loads nothing of it."""

from __future__ import annotations

from trainer_hooks.wire.framework_description import CheckpointKeys, Framework, SavedFiles, SettingNames

FRAMEWORK = Framework(
    name="ultralytics",
    title="Ultralytics",
    supported="Ultralytics 8.3.213 and newer",
    trainer_module="ultralytics.engine.trainer",
    settings=SettingNames(
        learning_rate="lr0",
        learning_rates=("lr0", "warmup_bias_lr"),
        momentum="momentum",
        weight_decay="weight_decay",
        warmup_epochs="warmup_epochs",
        warmup_bias_rate="warmup_bias_lr",
        colour_augmentation=("hsv_h", "hsv_s", "hsv_v"),
        final_share="lrf",
        cosine="cos_lr",
        source=("model", "pretrained", "resume"),
        shown=(
            "optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", "warmup_epochs", "warmup_momentum",
            "warmup_bias_lr", "batch", "nbs", "imgsz", "amp", "epochs", "close_mosaic", "mosaic", "mixup",
            "multi_scale", "model", "data", "seed",
        ),
    ),
    files=SavedFiles(
        folder="weights",
        last="last.pt",
        best="best.pt",
        epoch_pattern=r"epoch(\d+)\.pt",
        epoch_first=0,
        resumable_prefix="last",  # utils.checks.get_latest_run globs last*.pt
        results="results.csv",
    ),
    checkpoint=CheckpointKeys(
        model="model",
        ema="ema",
        optimizer="optimizer",
        epoch="epoch",
        epoch_first=0,
        epoch_stripped=-1,  # utils.torch_utils.strip_optimizer
        best_fitness="best_fitness",
        updates="updates",
        arguments="train_args",
        identifying=("best_fitness", "updates", "date"),
        records=("train_args", "train_metrics", "train_results"),
        class_packages=(  # as named by releases of today, and by those before 8.1
            "ultralytics.nn", "ultralytics.utils.loss", "ultralytics.utils.tal",
            "ultralytics.yolo.utils.loss", "ultralytics.yolo.utils.tal",
        ),
        namespaces=(
            ("ultralytics.utils", "IterableSimpleNamespace"),
            ("ultralytics.yolo.utils", "IterableSimpleNamespace"),
        ),
    ),
    resume='YOLO("FILE").train(resume=True)',
    clip_norm=10.0,  # max_norm, hard-coded in BaseTrainer.optimizer_step
    images_are_bytes=True,
    broken_amp_devices=r"16[356]0|\b[tT](400|550|600|1000|1200|2000)\b|[kK]40m",  # as in utils.checks.check_amp
)  # fmt: skip
