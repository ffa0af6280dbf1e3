"""What every settings model stands on: strict keys, other defaults in a preset, contradictions. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from trainer_hooks.wire.enums import StrEnum

CONTRADICTION = "contradiction"  # the type of the error, as pydantic reports it


class Section(BaseModel):
    """A part of the policy file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preset(StrEnum):
    """The policies that are shipped."""

    DEFAULT = "default"
    OBSERVE = "observe"
    STRICT = "strict"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class InPreset:
    """The value that a setting has in one preset, in the annotation of its field. `reason`: full sentences."""

    preset: Preset
    value: float | str  # a switch too: bool is a number
    reason: str


def contradiction(key: str, text: str) -> PydanticCustomError:
    """The error for a model validator to raise: two settings exclude each other. `key` is the one to point at."""
    return PydanticCustomError(CONTRADICTION, "{text}", {"key": key, "text": text})


def never_reached(key: str, count: int, window_batches: int) -> PydanticCustomError:
    """The error for a count that no window of so many batches can hold."""
    text = f"{count} in {window_batches} batches can't happen; write at most {window_batches}, or raise window_batches"
    return contradiction(key, text)


def sentences_of(model: type[BaseModel]) -> str:
    """What a settings model is for: its docstring on one line."""
    return " ".join((model.__doc__ or "").split())
