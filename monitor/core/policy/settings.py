"""What people write in a policy file, as pydantic models: every key with its default and its reason. No I/O.

The settings of a detector are in the detector's own file; the section `detectors` is made of all that are registered.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, GetPydanticSchema, PositiveFloat

from monitor.core.detectors import DetectorSettings, settings_model
from monitor.core.model.section import InPreset, Preset, Section
from monitor.core.policy.alert_settings import (
    CLOCK_PATTERN,
    Alerts,
    Heartbeat,
    Milestones,
    QuietHours,
    ReceiverSettings,
    Route,
    Webhook,
)
from monitor.core.policy.restart_settings import Restart
from monitor.core.policy.table_settings import DecisionTable, WhenClean

Detectors = settings_model()


class Rollback(Section):
    """When trainwarden goes back to an earlier checkpoint, and how far."""

    budget: Annotated[
        int,
        InPreset(Preset.STRICT, value=2, reason="Going back twice without a cure is enough; then a person is asked."),
    ] = Field(
        3,
        ge=0,
        le=100,
        description="A run may spend this many rollbacks. After the last one a clean training goes on with its bad "
        "steps skipped, and a damaged one is stopped. After three the cause is not one that going back cures.",
    )
    cool_down_batches: Annotated[
        int,
        InPreset(Preset.STRICT, value=20, reason="The next action may follow sooner, so that less training is lost."),
    ] = Field(
        50,
        ge=0,
        description="No second action is taken within this many batches of the one before. The first action needs a "
        "chance to work.",
    )
    redo_limit_epochs: float = Field(
        2.0,
        ge=0,
        description="With `when_clean: rollback`, going back from a clean state may redo at most this many epochs; "
        "above it the settings are adjusted in place. A damaged state is given up whatever that redoes.",
    )
    healthy_batches: Annotated[
        int,
        InPreset(Preset.STRICT, value=200, reason="More healthy batches must follow before a checkpoint is trusted."),
    ] = Field(
        20,
        ge=0,
        description="A checkpoint counts as clean after this many healthy batches have followed it. Damage that a "
        "checkpoint holds usually shows within a few batches, and 20 leave a margin.",
    )
    keep_clean: Annotated[
        int,
        InPreset(Preset.STRICT, value=5, reason="It stays possible for longer to go further back."),
    ] = Field(
        3,
        ge=1,
        le=100,
        description="The vault keeps this many clean checkpoints, where the trainer cannot delete them. Three are one "
        "to use and two further back.",
    )
    in_process: bool = Field(
        True,
        description="With true a training goes back to a snapshot within its process where it can: the script does "
        "not begin anew, and what it trained before is not trained again. With false, and after a hang or a crash, "
        "the process is always started again.",
    )
    grace_s: PositiveFloat = Field(
        30.0,
        description="The training gets this many seconds to leave by itself before it is ended. Half a minute is "
        "enough to finish a batch and save.",
    )


class Snapshots(Section):
    """The saved states of trainwarden's own, within an epoch."""

    every_s: float = Field(
        600.0,
        ge=0,
        description="A snapshot of the whole training is taken every so many seconds, after a healthy batch; 0 takes "
        "none. The first ones come sooner, from two seconds on. The pauses never take more than 0.5 % of the time, so "
        "those of a large model come less often. Ten minutes are what a crash, a hang or a rollback then costs at "
        "most.",
    )
    keep: int = Field(
        3,
        ge=1,
        le=100,
        description="The vault keeps this many clean snapshots, each as large as model, average and optimizer "
        "together. Three are one to use and two further back.",
    )


class Strengthen(Section):
    """What changes for the next try. The values are worked out for each parameter group, once per incident."""

    learning_rate: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The learning rate is multiplied by this factor. Half the rate is the usual first answer to an "
        "unstable training.",
    )
    clip_norm: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The limit of gradient clipping is multiplied by this factor. Half of it halves the "
        "largest step that one batch can take.",
    )
    warmup_epochs: float = Field(
        5.0,
        ge=0,
        description="This many warm-up epochs are added, over which the learning rate rises from 0, and never more "
        "than a tenth of what is left to train. Five double the usual warm-up of a detector.",
    )
    momentum: float | None = Field(
        0.85,
        ge=0,
        lt=1,
        description="The momentum is set to this value where it is higher; null leaves it as it is. With 0.85 a bad "
        "gradient fades in fewer than half the steps that it takes with 0.937.",
    )
    weight_decay: float = Field(
        2.0,
        gt=0,
        description="The weight decay is multiplied by this factor. Twice the decay keeps large weights down without "
        "dominating the loss.",
    )
    warmup_bias_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The rate from which the biases warm up is multiplied by this factor, where the trainer has one; "
        "null leaves it as it is. The default is null because it is lowered to the learning rate anyway.",
    )
    colour_augmentation: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The random change of colours in images (hue, saturation and brightness) is multiplied by "
        "this factor; null leaves it as it is. The default is null because it changes what the model learns.",
    )
    floor: float = Field(
        0.25,
        gt=0,
        le=1,
        description="The learning rate is never lowered below this share of your own, from 0 to 1. Without a floor a "
        "rate that is halved at every incident ends at nothing.",
    )


class Watch(Section):
    """What proves that a cure held."""

    batches_min: Annotated[
        int,
        InPreset(Preset.STRICT, value=3000, reason="A cure counts only after three times as many healthy batches."),
    ] = Field(
        1000,
        ge=1,
        description="A cure needs at least this many healthy batches at the new learning rate, or a tenth of what is "
        "left where the training is short. A thousand are enough for faults that come once in a few hundred.",
    )
    intervals: Annotated[
        float,
        InPreset(
            Preset.STRICT,
            value=7.0,
            reason="An uncured training passes seven intervals without a bad batch in 0.1 % of the cases.",
        ),
    ] = Field(
        4.6,
        ge=0,
        description="A cure must also last this many times the expected distance between non-finite batches. An "
        "uncured training passes 4.6 of them without one in 1 % of the cases.",
    )
    onset_samples: bool = Field(
        True,
        description="A cure must also have met the samples of the first bad batches again, where the framework names "
        "them. A cure that never met its samples proves little.",
    )
    recovery_batches: Annotated[
        int,
        InPreset(
            Preset.STRICT,
            value=3000,
            reason="An incident without an action is over only after three times as many healthy batches.",
        ),
    ] = Field(
        1000,
        ge=1,
        description="An incident that led to no action is over after this many healthy batches, or a tenth of what is "
        "left where the training is short. A thousand is what a cure needs too.",
    )


class Policy(Section):
    """What trainwarden watches in a run, what it may do, and who hears of it."""

    version: Literal[1] = Field(
        1,
        description="This is the version of the policy file's format. There is only version 1, and a file may leave "
        "it out.",
    )
    act: Annotated[
        bool,
        InPreset(Preset.OBSERVE, value=False, reason="Nothing is stopped, changed or restarted."),
    ] = Field(
        True,
        description="With true trainwarden may act: stop the training, go back to a checkpoint and carry on. With "
        "false it only watches and alerts. The default is true because a run is started under trainwarden "
        "to be protected.",
    )
    detectors: Annotated[DetectorSettings, GetPydanticSchema(lambda _, handler: handler(Detectors))] = Field(
        Detectors(),
        description="This section sets which detectors run, and with which settings. Each detector has its own "
        "section below it.",
    )
    when_clean: Annotated[
        WhenClean,
        InPreset(
            Preset.ROLLBACK,
            value=WhenClean.ROLLBACK,
            reason="The training is stopped and goes back when too many batches are not finite, as a careful person "
            "would do by hand.",
        ),
        InPreset(
            Preset.STRICT,
            value=WhenClean.ROLLBACK,
            reason="A training that was clean before goes back rather than on with skipped steps.",
        ),
    ] = Field(
        WhenClean.ADJUST,
        description="This is what is done where batches are not finite, and the guard kept the state clean: "
        "adjust the settings in place and see whether that helps, rollback to a clean checkpoint, stop, or "
        "go_on with the bad steps skipped. The default is adjust because a clean state gains nothing by going back. "
        "Whatever is written here, a training goes on where a sample or one rank explains its bad batches, and "
        "where going back would redo more than what is left.",
    )
    table: DecisionTable = Field(
        DecisionTable(), description="This section sets the numbers by which an action is chosen."
    )
    rollback: Rollback = Field(
        Rollback(), description="This section sets when trainwarden goes back to an earlier checkpoint, and how far."
    )
    snapshots: Snapshots = Field(
        Snapshots(), description="This section sets how often the whole state is saved within an epoch."
    )
    restart: Restart = Field(
        Restart(), description="This section sets when a training is started again whose process ended unasked."
    )
    strengthen: Strengthen = Field(
        Strengthen(), description="This section sets what changes for the next try, once for each incident."
    )
    watch: Watch = Field(
        Watch(), description="This section sets what proves that a cure held, so that the incident can be closed."
    )
    alerts: Alerts = Field(Alerts(), description="This section sets which events people hear of, and how often.")
    quiet_hours: QuietHours = Field(
        QuietHours(), description="This section sets the hours in which only severe alerts are sent."
    )
    milestones: Milestones = Field(
        Milestones(), description="This section sets which good news are sent. The default is none."
    )
    daily_summary: str | None = Field(
        None,
        pattern=CLOCK_PATTERN,
        examples=["08:00"],
        description="A summary of each live run is sent every day at this time of the daemon's clock, such as "
        '"08:00" in quotes. The default is null: none is sent.',
    )
    heartbeat: Heartbeat = Field(
        Heartbeat(),
        description="This section sets an address that is called while a training progresses, so that a service "
        "outside notices when the machine, its network or this daemon is gone.",
    )
    receivers: tuple[ReceiverSettings, ...] = Field(
        (), description="These receivers get alerts, each of a kind of its own. The default is nobody."
    )
    routes: tuple[Route, ...] = Field(
        (),
        description="These rules choose who gets an alert. Every rule that matches adds its receivers. An alert that "
        "no rule matches goes to every receiver, and so does every alert where there is no rule.",
    )
    webhooks: tuple[Webhook, ...] = Field(
        (), description="These receivers get every alert as a JSON body by HTTP POST. The default is nobody."
    )

    @property
    def receiver_names(self) -> tuple[str, ...]:
        """Everybody who may get an alert."""
        return (*(one.name for one in self.receivers), *(one.name for one in self.webhooks))
