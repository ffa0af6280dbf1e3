"""What people write in a policy file, as pydantic models: every key with its default and its reason. No I/O."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr


class Section(BaseModel):
    """A part of the policy file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NonfiniteBurst(Section):
    """Several non-finite batches close together."""

    enabled: bool = True
    count: PositiveInt = Field(3, description="this many non-finite batches ...")
    window_batches: int = Field(100, ge=1, le=100_000, description="... within this many batches")


class NonfiniteBatch(Section):
    """The first non-finite batch of a generation: told at once, never acted on."""

    enabled: bool = True


class NonfiniteRate(Section):
    """Non-finite batches that keep coming, further apart."""

    enabled: bool = True
    rate: float = Field(0.005, gt=0, le=1, description="this share of the batches in the window")
    window_batches: int = Field(1000, ge=1, le=100_000)
    count_min: PositiveInt = Field(5, description="and never fewer than this many")


class PoisonedState(Section):
    """Non-finite parameters or buffers that the guard did not put right: critical at once."""

    enabled: bool = True


class NonfiniteComponent(Section):
    """Names the component of the loss that is not finite where the others are: told, never acted on."""

    enabled: bool = True


class LossSpike(Section):
    """The loss jumps far above its own spread. One jump is told; what stays, or moves the norm too, may be acted on."""

    enabled: bool = True
    act: bool = Field(True, description="open an incident for a spike that did not come back")
    spreads: PositiveFloat = Field(
        8.0, description="a jump of this many spreads; more where the run's own noise is heavy"
    )
    ratio: float = Field(1.25, gt=1, description="and to this many times the level")
    wait_batches: int = Field(
        50, ge=10, le=300, description="most spikes come back: a trouble is one that has not by then"
    )
    warmup_batches: int = Field(100, ge=64, description="in which only a jump above everything before it is told")
    ratio_alone: float = Field(10.0, gt=1, description="a single jump to this many times the level is a warning")


class GradientExplosion(Section):
    """The gradient norm jumps far above its own spread; often one to four batches before the loss."""

    enabled: bool = True
    act: bool = Field(False, description="open an incident where the norm stays that high")
    spreads: PositiveFloat = 8.0
    ratio: float = Field(5.0, gt=1, description="times the level")
    rise: float = Field(20.0, gt=1, description="or, without any jump, to this many times its lowest long mean")
    wait_batches: int = Field(50, ge=10, le=300)
    warmup_batches: int = Field(100, ge=64)


class GradientVanishing(Section):
    """The gradient norm fell to nothing and stays there."""

    enabled: bool = True
    ratio: float = Field(1000.0, gt=1, description="this many times below its level")
    batches: int = Field(20, ge=2, le=64, description="for this many batches")


class Divergence(Section):
    """The loss rises slowly and keeps rising."""

    enabled: bool = True
    act: bool = Field(False, description="open an incident for it")
    drift: PositiveFloat = Field(150.0, description="CUSUM of the rise above its long mean, in spreads")
    ratio: float = Field(1.15, gt=1, description="and above its best by this factor")


class Collapse(Section):
    """The loss fell to nothing with the gradient: nothing is learnt any more."""

    enabled: bool = True
    ratio: float = Field(100.0, gt=1, description="this many times below its level, and the norm ten times")
    batches: int = Field(20, ge=2, le=64)


class Plateau(Section):
    """The loss has not moved since the start."""

    enabled: bool = True
    window_batches: int = Field(10_000, ge=1000, description="after this many batches ...")
    ratio: float = Field(1.05, gt=1, description="... the start was never improved upon by this factor")


class LossScale(Section):
    """The loss scale keeps falling, or the scaler keeps overflowing; single overflows are how it works."""

    enabled: bool = True
    falls: int = Field(3, ge=2, le=64, description="falls ...")
    window_batches: int = Field(20, ge=2, description="... within this many batches")
    storm: int = Field(10, ge=2, le=64, description="overflows within five such windows")
    warmup_batches: int = Field(200, ge=0, description="in which the scale is still looked for")


class StepTime(Section):
    """Batches take longer, all of them: a lasting slowness, not a periodic one."""

    enabled: bool = True
    ratio: float = Field(1.25, gt=1.1, description="the fast quarter of batches is slower than ever by this factor")


class DataWait(Section):
    """The training waits for its data."""

    enabled: bool = True
    share: float = Field(0.5, gt=0, le=1, description="of nearly every batch")


class MemoryStep(Section):
    """Reserved GPU memory jumped and stays there."""

    enabled: bool = True
    ratio: float = Field(1.05, gt=1.02, description="to this many times its level")
    bytes_min: int = Field(64 * 1024 * 1024, ge=1)
    batches: int = Field(5, ge=1, le=20, description="for this many batches")


class MemoryLeak(Section):
    """GPU memory rises along a straight line."""

    enabled: bool = True
    fit: float = Field(0.9, gt=0, lt=1, description="R squared of the line")
    growth: float = Field(0.01, gt=0, description="share of the level within about 2,000 batches")
    capacity_bytes: int | None = Field(
        None, ge=1, description="of the device, where NVML does not tell it; null: no time is projected"
    )


class SettingsUnexplained(Section):
    """A setting changed while training, and nothing explains it."""

    enabled: bool = True


class Validation(Section):
    """A metric of the validation is not finite, or fell to zero."""

    enabled: bool = True
    fell_from: float = Field(0.05, gt=0, description="the fitness was above this before it fell to zero")


class Deadline(Section):
    """At the present pace the training ends too late."""

    enabled: bool = True


class RankOutlier(Section):
    """One rank stands out among its peers and stays out."""

    enabled: bool = True
    ratio: float = Field(1.5, gt=1, description="three of four of its batches are this many times the ranks' median")


class Hang(Section):
    """No batch comes any more."""

    enabled: bool = True
    act: bool = Field(False, description="open an incident: the training is made to leave and started again")
    floor_s: PositiveFloat = Field(30.0, description="never sooner than this")
    intervals: float = Field(5.0, ge=2, description="times the longest interval of this phase")
    unknown_s: PositiveFloat = Field(2700.0, description="in a phase that was never seen to end")


class Throughput(Section):
    """Less is trained in the same time, over hundreds of batches or over whole epochs."""

    enabled: bool = True
    ratio: float = Field(1.08, gt=1.02, description="256 batches take this many times what they ever took before")


class GpuFragmentation(Section):
    """The allocator holds back much more GPU memory than any batch needs at once."""

    enabled: bool = True
    share: float = Field(0.3, gt=0, lt=1, description="of the reserved memory that no batch ever needed at once ...")
    near: float = Field(0.8, gt=0, le=1, description="... while this share of the device is reserved")


class AllocRetries(Section):
    """The allocator had to empty its cache and try again: the GPU's memory is as good as full."""

    enabled: bool = True
    count: PositiveInt = Field(3, description="this many times ...")
    window_batches: int = Field(500, ge=1, description="... within this many batches")


class HostMemory(Section):
    """The host's memory runs short, or the training's processes take more and more of it."""

    enabled: bool = True
    free: float = Field(0.05, ge=0, lt=1, description="less than this share of the host's memory is available")
    step: float = Field(0.1, gt=0, le=1, description="the processes jumped by this share of it and stay there")
    growth: float = Field(0.02, gt=0, le=1, description="or grew by this share of it in about an hour, in a line ...")
    fit: float = Field(0.9, gt=0, lt=1, description="... of this R squared")


class DiskSpace(Section):
    """A volume that the run writes to is about to fill."""

    enabled: bool = True
    checkpoints: PositiveFloat = Field(3.0, description="room for fewer than this many of the largest checkpoint")
    bytes_min: int = Field(256 * 1024 * 1024, ge=0, description="free, while no checkpoint's size is known")
    hours: PositiveFloat = Field(1.0, description="or full within this time at the present pace")


class CheckpointVerdict(Section):
    """A checkpoint is poisoned, torn or can't be verified."""

    enabled: bool = True


class CheckpointAge(Section):
    """No checkpoint was saved for too long."""

    enabled: bool = True
    intervals: float = Field(3.0, gt=1, description="times the longest distance between two checkpoints so far")
    share: float = Field(0.25, gt=0, le=1, description="of the training without any checkpoint, after its first epoch")


class CheckpointRetention(Section):
    """No checkpoint that is kept can be gone back to."""

    enabled: bool = True


class Overfitting(Section):
    """The validation gets worse while the training loss goes on falling."""

    enabled: bool = True
    epochs: int = Field(5, ge=3, le=50, description="since the best one")
    worse: float = Field(0.05, gt=0, le=1, description="by this share, and by twice what epochs differ by anyway")


class UpdateRatio(Section):
    """Steps change the weights by next to nothing, or by far too much."""

    enabled: bool = True
    low: float = Field(1e-8, gt=0, description="norm of the change by norm of the weights")
    high: float = Field(0.1, gt=0)
    factor: float = Field(100.0, gt=1, description="or this many times more or less than before, at the same rate")
    samples: int = Field(3, ge=2, le=8, description="in a row")


class GpuErrors(Section):
    """The driver reports an error of the device: XID, uncorrectable ECC, rows remapped, or it is gone."""

    enabled: bool = True


class GpuThrottling(Section):
    """The device slows itself down, is too hot, or its power limit was lowered."""

    enabled: bool = True
    share: float = Field(0.6, gt=0, lt=1, description="of the last minutes; reached after two of them at 0.6")


class NonfiniteLayer(Section):
    """Names the first tensor that is not finite: told, never acted on."""

    enabled: bool = True


class Detectors(Section):
    """Which detectors run, with which settings."""

    nonfinite_burst: NonfiniteBurst = NonfiniteBurst()
    nonfinite_rate: NonfiniteRate = NonfiniteRate()
    nonfinite_component: NonfiniteComponent = NonfiniteComponent()
    poisoned_state: PoisonedState = PoisonedState()
    loss_spike: LossSpike = LossSpike()
    gradient_explosion: GradientExplosion = GradientExplosion()
    gradient_vanishing: GradientVanishing = GradientVanishing()
    divergence: Divergence = Divergence()
    collapse: Collapse = Collapse()
    plateau: Plateau = Plateau()
    loss_scale: LossScale = LossScale()
    step_time: StepTime = StepTime()
    data_wait: DataWait = DataWait()
    memory_step: MemoryStep = MemoryStep()
    memory_leak: MemoryLeak = MemoryLeak()
    settings_unexplained: SettingsUnexplained = SettingsUnexplained()
    validation: Validation = Validation()
    deadline: Deadline = Deadline()
    rank_outlier: RankOutlier = RankOutlier()
    hang: Hang = Hang()
    throughput: Throughput = Throughput()
    gpu_fragmentation: GpuFragmentation = GpuFragmentation()
    alloc_retries: AllocRetries = AllocRetries()
    host_memory: HostMemory = HostMemory()
    disk_space: DiskSpace = DiskSpace()
    checkpoint_verdict: CheckpointVerdict = CheckpointVerdict()
    checkpoint_age: CheckpointAge = CheckpointAge()
    checkpoint_retention: CheckpointRetention = CheckpointRetention()
    overfitting: Overfitting = Overfitting()
    update_ratio: UpdateRatio = UpdateRatio()
    gpu_errors: GpuErrors = GpuErrors()
    gpu_throttling: GpuThrottling = GpuThrottling()
    nonfinite_layer: NonfiniteLayer = NonfiniteLayer()
    nonfinite_batch: NonfiniteBatch = NonfiniteBatch()


class Rollback(Section):
    """When and how far to go back."""

    budget: int = Field(
        3, ge=0, le=100, description="rollbacks a run may spend; then it is stopped and people are told"
    )
    cool_down_batches: int = Field(50, ge=0, description="no second action within this many batches of the one before")
    redo_limit_epochs: float = Field(
        0.05,
        ge=0,
        description="redoing more than this share of an epoch costs too much while the state is provably clean: "
        "adjust in place first, roll back on relapse",
    )
    healthy_batches: int = Field(
        20, ge=0, description="healthy batches that must have followed a checkpoint before it is clean"
    )
    keep_clean: int = Field(3, ge=1, le=100, description="clean checkpoints kept in the vault")
    grace_s: PositiveFloat = Field(30.0, description="seconds the training may take to leave before it is made to")


class Strengthen(Section):
    """What changes for the next try; turned into absolute values per parameter group once per incident."""

    learning_rate: float = Field(0.5, gt=0, le=1, description="factor")
    clip_norm: float = Field(0.5, gt=0, le=1, description="factor")
    warmup_epochs: float = Field(5.0, ge=0, description="epochs of warm-up added; our own ramp from 0 is this long")
    momentum: float | None = Field(0.85, ge=0, lt=1, description="new value where it is lower; null: as it is")
    weight_decay: float = Field(2.0, gt=0, description="factor")
    floor: float = Field(
        0.25, gt=0, le=1, description="the learning rate never goes below this share of the user's own"
    )


class Watch(Section):
    """What proves a cure."""

    batches_min: int = Field(1000, ge=1, description="healthy batches at the new learning rate")
    intervals: float = Field(3.0, ge=0, description="and this many of the expected interval between faults")
    onset_samples: bool = Field(
        True, description="and the samples of the onset met again, where the framework names them"
    )
    recovery_batches: int = Field(
        1000, ge=1, description="healthy batches after which an incident nobody acted on is over"
    )


class Webhook(Section):
    """A receiver that gets a JSON body by POST."""

    name: str = Field("webhook", pattern=r"^[A-Za-z0-9_-]{1,40}$")
    url: SecretStr
    secret_file: str | None = Field(None, description="file that holds the signing secret (Standard Webhooks)")
    timeout_s: PositiveFloat = 10.0


class Policy(Section):
    """A policy file."""

    version: Literal[1] = 1
    act: bool = Field(True, description="false: only watch and tell")
    detectors: Detectors = Detectors()
    rollback: Rollback = Rollback()
    strengthen: Strengthen = Strengthen()
    watch: Watch = Watch()
    webhooks: tuple[Webhook, ...] = ()
