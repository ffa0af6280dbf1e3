"""When a training that died is started again, as people write it in a policy file. No I/O."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from monitor.core.model.section import InPreset, Preset, Section


class Restart(Section):
    """When a training is started again whose process ended although nobody had asked for that."""

    after_crash: bool = Field(
        True,
        description="With true a training that ends by an exception, by a signal such as SIGKILL, or without a word is "
        "started again from its newest clean state. The default is true because a night is longer than most reasons "
        "for a crash. A script that ends by itself, and a person's Ctrl-C or SIGTERM, are always an end.",
    )
    tries: Annotated[
        PositiveInt,
        InPreset(Preset.STRICT, value=1, reason="A second death at the same state is for a person to look at."),
    ] = Field(
        3,
        le=100,
        description="A training is started again this many times from the same state. A newer clean state begins the "
        "count anew. Where it dies in the same way and has not come further by more than a batch, it is not started "
        "again at all, since the fault is in the script.",
    )
    out_of_memory_tries: int = Field(
        1,
        ge=0,
        le=100,
        description="After an error that the GPU's memory is full, a training is started again this many times from "
        "the same state, with your own batch size. Once, because memory that other processes held, or that was "
        "in pieces, is free after a new start; the cure is a smaller batch size, and that is yours to choose.",
    )
    batches_min: int = Field(
        20,
        ge=0,
        description="A training that died within its first batches, this many, is not started again. So early it is a "
        "mistake in the script or in its settings, and you wait for the message.",
    )
