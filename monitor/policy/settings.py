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


class NonfiniteRate(Section):
    """Non-finite batches that keep coming, further apart."""

    enabled: bool = True
    rate: float = Field(0.005, gt=0, le=1, description="this share of the batches in the window")
    window_batches: int = Field(1000, ge=1, le=100_000)
    count_min: PositiveInt = Field(5, description="and never fewer than this many")


class PoisonedState(Section):
    """Non-finite parameters or buffers that the guard did not put right: critical at once."""

    enabled: bool = True


class Detectors(Section):
    """Which detectors run, with which settings."""

    nonfinite_burst: NonfiniteBurst = NonfiniteBurst()
    nonfinite_rate: NonfiniteRate = NonfiniteRate()
    poisoned_state: PoisonedState = PoisonedState()


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
