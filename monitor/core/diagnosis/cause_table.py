"""The families of causes and the evidence for and against each: data. Pure.

Sources: the signatures measured on Ultralytics 8.4.190 (a NaN pixel dirties every BatchNorm layer at once, a high
rate rises over 3 steps and more before it overflows, bad labels never give NaN), its check_amp and warm-up code,
the public logs of BLOOM-176B, OPT-175B, GLM-130B, PaLM (arXiv 2204.02311) and Marin 32B, and the taxonomies of
TrainCheck and ByteRobust. Weights are ours: 4 is what one finding is worth that hardly anything else explains; 10 and
20 are proofs, which win whatever else speaks for another cause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from monitor.core.diagnosis.case import Case
from monitor.core.diagnosis.evidence import data, memory, rate, rise, speed, state
from monitor.core.model import Family

Ask = Callable[[Case], str]
NUMBERS: frozenset[str] = frozenset({Family.NONFINITE, Family.LOSS, Family.GRADIENT, Family.LOSS_SCALE})
VALIDATION: frozenset[str] = frozenset({Family.VALIDATION})


class Item(NamedTuple):
    """One piece of evidence: for a cause where its weight is positive, against it where it is negative."""

    weight: float
    ask: Ask


class CauseFamily(NamedTuple):
    """A family of causes."""

    name: str
    title: str
    explains: frozenset[str]  # each a Family: findings it may be the cause of
    items: tuple[Item, ...]
    test: str  # the one that would settle it
    names: Ask | None = None  # whom or what of the family it is, for its title


FAMILIES = (
    CauseFamily(
        "learning_rate", "the learning rate is too high", NUMBERS,
        (
            Item(3.0, rate.rate_jumped),
            Item(2.5, rise.rose),
            Item(1.0, rise.peaked),
            Item(1.0, rise.fell_apart),
            Item(1.0, rate.group_is_high),
            Item(-3.0, rise.sudden),
            Item(-2.0, rise.one_outlier_began_it),
            Item(-5.0, rate.rate_changed_by_hand),
            Item(-2.0, rate.near_warm_up_end),
            Item(-1.0, rise.spikes_before),
        ),
        "Go on from the checkpoint before the onset with half the rate and the same data order: it does not come back.",
    ),
    CauseFamily(
        "warm_up_end", "the end of warm-up: the rate came to its height too soon", NUMBERS,
        (
            Item(3.0, rate.near_warm_up_end),
            Item(1.5, rise.rose),
            Item(0.5, rate.rate_at_its_highest),
            Item(-2.0, rise.sudden),
            Item(-2.0, rise.one_outlier_began_it),
            Item(-4.0, rate.far_from_warm_up_end),
            Item(-2.0, rate.rate_jumped),
        ),
        "Go on from the checkpoint before the onset with a warm-up twice as long: the onset moves or goes.",
    ),
    CauseFamily(
        "settings_changed", "a setting was changed by hand",
        NUMBERS | VALIDATION | {Family.SETTINGS, Family.MEMORY, Family.SPEED},
        (
            Item(20.0, rate.set_loose),
            Item(4.5, rate.changed_by_hand),
            Item(2.0, rate.restarted_otherwise),
            Item(-4.0, rate.nothing_changed_by_hand),
        ),
        "Put the setting back and go on from the checkpoint before the change.",
        rate.who_changed,
    ),
    CauseFamily(
        "amp_overflow", "gradients overflow in mixed precision", NUMBERS,
        (
            Item(1.0, state.scaler_on),
            Item(2.0, rise.loss_finite),
            Item(1.5, rise.norm_infinite),
            Item(1.0, state.scale_fell),
            Item(1.0, state.overflows_often),
            Item(0.5, rise.buffers_clean),
            Item(-5.0, state.scaler_off),
            Item(-2.5, rise.norm_nan),
            Item(-2.0, rise.rose),
            Item(-1.5, state.scale_below_one),
            Item(-1.0, rise.buffers_dirty),
        ),
        "Replay the saved batch with the saved weights in fp32 and in bf16: it is finite in both.",
    ),
    CauseFamily(
        "amp_device", "a GPU whose mixed precision gives wrong results", frozenset({Family.NONFINITE}),
        (
            Item(2.5, state.broken_amp_from_the_start),
            Item(2.0, state.device_known_for_it),
            Item(-4.0, state.later_than_the_start),
            Item(-5.0, state.scaler_off),
        ),
        "Start again with amp=False on the same device: it is finite.",
    ),
    CauseFamily(
        "loss_component", "one component of the loss: its formula, its targets or its branch of the model",
        frozenset({Family.NONFINITE}),
        (
            Item(4.0, rise.one_component),
            Item(0.5, rise.sudden),
            Item(0.5, rise.isolated),
            Item(-1.5, rise.every_batch_since),  # what they share may have damaged that branch for good
            Item(-5.0, rise.all_components),
            Item(-1.0, rise.rose),
        ),
        "Replay the saved batch and look for log(0), 0/0 and a square root at 0 in that component alone.",
        rise.which_components,
    ),
    CauseFamily(
        "bad_input", "a bad sample", NUMBERS,
        (
            Item(10.0, data.same_sample),
            Item(4.0, data.suspected_sample),
            Item(1.0, data.named_sample),
            Item(2.0, data.extreme_shape),
            Item(1.5, rise.sudden),
            Item(0.5, rise.isolated),
            Item(0.5, rise.buffers_dirty),
            Item(-2.5, rise.rose),
            Item(-2.5, rise.every_batch_since),
            Item(-1.5, rise.one_component),
            Item(-1.0, data.other_samples),
            Item(-0.5, data.whole_bytes),
        ),
        "Feed the named samples, one at a time, to the checkpoint before the onset: the bad one is not finite.",
        data.which_samples,
    ),
    CauseFamily(
        "bad_labels", "the labels changed or are gone", frozenset({Family.LOSS, Family.GRADIENT, *VALIDATION}),
        (
            Item(3.0, data.components_part),
            Item(2.0, data.instances_gone),
            Item(0.5, data.norm_as_usual),
            Item(-5.0, data.not_finite),
            Item(-2.0, rise.rose),
        ),
        "Draw the labels of a batch since the onset over its images, and count its instances by class.",
    ),
    CauseFamily(
        "data_change", "the data changed: another mixture, source or kind of batch", NUMBERS | VALIDATION,
        (
            Item(3.0, rate.boundary_before),
            Item(2.5, data.other_mix),
            Item(1.0, data.loss_stepped),
            Item(0.5, data.at_the_epochs_edge),
            Item(-2.0, rate.rate_jumped),
            Item(-1.0, rise.rose),
            Item(-1.0, data.same_mix),
            Item(-2.0, data.components_part),
        ),
        "Feed the state from before the onset batches from before and from after it: only the new ones are bad.",
    ),
    CauseFamily(
        "missing_clip", "outliers of the gradient that nothing clips", NUMBERS,
        (
            Item(1.5, rate.no_clip),
            Item(1.5, rise.norm_first),
            Item(1.5, rise.spikes_before),
            Item(-5.0, rate.clipped),
            Item(-2.0, rate.rate_jumped),
            Item(-2.0, rate.near_warm_up_end),
            Item(-1.5, rise.sudden),
        ),
        "Go on from the checkpoint before the onset with gradients clipped at twice their usual norm.",
    ),
    CauseFamily(
        "stale_moment", "a stale second moment of the optimizer",
        frozenset({Family.LOSS, Family.GRADIENT, Family.NONFINITE}),
        (
            Item(0.5, rate.adam),  # together below a verdict: norms fall in every training
            Item(1.5, rate.quiet_before),
            Item(1.5, rise.norm_first),
            Item(-4.0, rate.not_adam),
            Item(-2.0, rate.rate_jumped),
            Item(-2.0, rate.near_warm_up_end),
            Item(-1.5, rise.sudden),
        ),
        "Go on from the checkpoint before the onset with beta2 at 0.95: the spike does not come back.",
    ),
    CauseFamily(
        "batchnorm_ema", "BatchNorm statistics or EMA weights are damaged", VALIDATION | {Family.NONFINITE},
        (
            Item(3.0, state.buffers_left_bad),
            Item(2.5, state.validation_bad),
            Item(1.5, state.statistics_named),
            Item(1.0, state.fitness_fell_at_once),
            Item(-3.0, state.weights_bad),
            Item(-2.0, state.training_is_off),
        ),
        "Validate the same weights with fresh running statistics (a few batches in train mode, no step): it is good.",
    ),
    CauseFamily(
        "resume_damage", "the resume: the state it went on from, or how that was read", NUMBERS | VALIDATION,
        (
            Item(3.0, state.right_after_resume),
            Item(2.5, state.level_off_after_resume),
            Item(1.5, state.no_good_batch_since_resume),
            Item(-6.0, state.not_resumed),
            Item(-2.5, rate.restarted_otherwise),
            Item(-4.0, state.long_after_resume),
        ),
        "Resume again from an older checkpoint, and hold its first loss against the one recorded there.",
    ),
    CauseFamily(
        "hardware", "a hardware fault", NUMBERS | {Family.SPEED, Family.HANG, Family.RANK},
        (
            Item(4.5, state.hardware_errors),
            Item(2.5, state.one_rank),
            Item(-2.0, state.every_rank),
            Item(-2.0, data.same_sample),
            Item(-2.0, rise.rose),
            Item(-1.5, rise.one_component),
        ),
        "Run the same batch with the same weights on another device: it does not come back there.",
    ),
    CauseFamily(
        "memory_batch", "the fullest batch so far: memory by instances, image size or sequence length",
        frozenset({Family.MEMORY}),
        (
            Item(4.0, memory.fullest_batch),
            Item(0.5, memory.one_step),
            Item(-4.0, memory.no_record),
            Item(-3.0, memory.steady_rises),
        ),
        "Feed that batch alone in a fresh process: reserved memory goes to the same height.",
    ),
    CauseFamily(
        "memory_leak", "a leak: memory that nobody gives back", frozenset({Family.MEMORY}),
        (
            Item(2.5, memory.straight_line),
            Item(2.0, memory.leak_found),
            Item(1.0, memory.steady_rises),
            Item(-3.0, memory.fullest_batch),
            Item(-2.0, memory.one_step),
        ),
        "Hold two snapshots of torch.cuda.memory 1,000 batches apart against each other: the same call site has grown.",
    ),
    CauseFamily(
        "memory_between_epochs", "validation or saving takes memory of its own", frozenset({Family.MEMORY}),
        (Item(4.5, memory.between_epochs), Item(-4.0, memory.within_an_epoch), Item(-1.5, memory.fullest_batch)),
        "Train two epochs without validation: reserved memory does not rise between them.",
    ),
    CauseFamily(
        "memory_fragmentation",
        "memory is fragmented: much of what is reserved is in pieces too small to use",
        frozenset({Family.MEMORY}),
        (Item(4.5, memory.fragmented),),
        "Start again with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True: reserved stays close to allocated.",
    ),
    CauseFamily(
        "input_bound", "the training waits for its data", frozenset({Family.SPEED}),
        (
            Item(3.5, speed.waits_more),
            Item(3.5, speed.waits_always),
            Item(1.0, speed.computes_as_before),
            Item(-3.0, speed.computes_longer),
            Item(-4.0, speed.waits_little),
        ),
        "Train some batches on one cached batch: without the loader it is as fast as before.",
    ),
    CauseFamily(
        "slow_compute", "a batch computes for longer: clock or heat of the device, somebody else on it, or more to do",
        frozenset({Family.SPEED}),
        (
            Item(3.0, speed.computes_longer),
            Item(2.0, speed.throttled),
            Item(0.5, speed.waits_little),
            Item(1.0, data.same_mix),
            Item(-3.0, data.other_mix),
            Item(-3.0, speed.waits_more),
        ),
        "Look at clock, throttle reasons and processes of the GPU, and time one fixed batch on another one.",
    ),
    CauseFamily(
        "hang", "a thread, a worker of the loader or another rank does not go on", frozenset({Family.HANG}),
        (Item(4.5, speed.stands_still), Item(1.0, speed.one_rank_stands_still)),
        "Read the stacks of every rank: the one that waits elsewhere than the others holds them up.",
    ),
)  # fmt: skip
