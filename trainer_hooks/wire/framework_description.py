"""What a framework is, as data: its files, the keys of its checkpoints, the names of its settings. Values only.

Each integration describes its framework once, in `trainer_hooks/integrations/<name>/framework.py`, as one `Framework`
named FRAMEWORK. Hooks, policy, diagnosis, report, supervisor and vault read it there. Importing a description loads
neither torch nor the framework.
"""

from __future__ import annotations

import msgspec


class SavedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files that the framework's trainer writes while it trains, below TrainingStarted.save_dir."""

    folder: str  # of the checkpoints, below save_dir: "weights"
    last: str  # the checkpoint that every save overwrites, in `folder`
    best: str  # the checkpoint of the best validation so far, in `folder`
    epoch_pattern: str  # regular expression for the whole name of an epoch's own checkpoint; group 1 is its number
    epoch_first: int  # the number in that name for the first epoch: 0 or 1
    resumable_prefix: str  # the framework's own resume takes the newest file with this prefix, in any folder below
    results: str  # CSV below save_dir, one row an epoch, whose first column is the epoch from 1; empty: there is none


class CheckpointKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys at the top of the dict that the framework's trainer saves as a checkpoint."""

    model: str
    ema: str  # the averaged weights
    optimizer: str  # the optimizer's state; None in a file that was made smaller after training
    epoch: str  # the last epoch that ended
    epoch_first: int  # the number of the first epoch under that key: 0 or 1
    epoch_stripped: int  # what stands under that key after training, when nothing can resume from the file any more
    best_fitness: str
    updates: str  # of the averaged weights
    arguments: str  # the trainer's arguments
    identifying: tuple[str, ...]  # a dict with all of these was saved by this framework
    records: tuple[str, ...]  # keys that hold neither weights nor optimizer state: a NaN there is an honest record
    class_packages: tuple[str, ...] = ()  # whose classes a checkpoint needs; made without a call of their __init__
    namespaces: tuple[tuple[str, str], ...] = ()  # (module, name) of classes that only hold attributes: may be called


class SettingNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names in TrainingStarted.settings. An empty name: the framework has no such setting."""

    learning_rate: str  # the base rate of the whole training
    learning_rates: tuple[str, ...]  # every setting that is a learning rate; lowering the rate concerns each of them
    momentum: str
    weight_decay: str
    warmup_epochs: str  # length of the warm-up, in epochs
    warmup_steps: str = ""  # length of the warm-up, in optimizer steps
    accumulation: str = ""  # batches for each optimizer step
    warmup_bias_rate: str = ""  # the rate from which the group of the biases warms up; it may be above the base rate
    colour_augmentation: tuple[str, ...] = ()  # how far the colours of images are changed at random
    final_share: str = ""  # the share of the base rate that the schedule ends at
    cosine: str = ""  # "True": the schedule is half a cosine, else a straight line
    source: tuple[str, ...] = ()  # what a start begins from: a new start of ours sets them
    shown: tuple[str, ...] = ()  # those that a report shows, in this order; empty: all of them


class Framework(msgspec.Struct, frozen=True, kw_only=True):
    """One framework whose trainings can be watched."""

    name: str  # as in TrainingStarted.framework, and the key of its version in TrainingStarted.versions
    title: str  # as people write it
    supported: str  # which releases the integration works with, as people read it: "Ultralytics 8.3.213 and newer"
    trainer_module: str = ""  # the hooks attach when this module is imported; empty: the script calls watch()
    describes_others: bool = False  # True: also stands for trainings of a framework that no integration describes
    settings: SettingNames
    files: SavedFiles | None = None  # None: every script has its own
    checkpoint: CheckpointKeys | None = None  # None: every script has its own
    clip_norm: float | None = None  # the L2 norm that the trainer clips gradients to by itself; None: it does not
    images_are_bytes: bool = False  # True: images are loaded as whole numbers from 0 to 255, so no pixel can be NaN
    resume: str = ""  # how a script goes on from a checkpoint FILE by hand; empty: every script has its own way
    broken_amp_devices: str = ""  # regular expression for devices on which mixed precision gives wrong results
