"""Detectors: one file each, with its settings, its function and its registration. The folder is the list.

A detector is a function of a view and its settings; it keeps nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from pydantic import Field, create_model

from monitor.core.model import Family, Finding, Severity
from monitor.core.model.section import Section, sentences_of
from monitor.core.state.view import RunView


class DetectorConfig(Section):
    """Settings of one detector. The docstring says what the detector finds."""

    enabled: bool = Field(
        True,
        description="This switch runs the detector; with false it is never asked, and nothing of its kind is reported.",
    )

    def nonfinite_history_batches(self) -> int:
        """How many batches back the detector counts non-finite ones; 0: it counts none."""
        return 0


C = TypeVar("C", bound=DetectorConfig)
Detector = Callable[[RunView, DetectorConfig], Finding | None]


class Moment(IntEnum):  # a number: every batch looks one up, and the hash of another enum is ten times slower
    """When a detector is asked."""

    NONFINITE = auto()  # a batch with a non-finite value, of any rank
    BATCH = auto()  # a batch without one, of any rank
    EVENT = auto()  # an event, of any rank, or the verdict on a checkpoint
    TICK = auto()  # time has passed in a training that is alive
    HARDWARE = auto()  # a reading of host, volumes and GPUs, in a training that is alive


class DetectorSettings(Section):
    """Which detectors run, and with which settings: one section for each detector, by its name."""

    def by_name(self) -> dict[str, DetectorConfig]:
        """The settings of every detector, by its name."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: settings for name, settings in values.items() if isinstance(settings, DetectorConfig)}

    def changed(self, settings: Mapping[str, DetectorConfig]) -> DetectorSettings:
        """A copy in which these detectors have other settings. Raises KeyError for a name that is no detector's."""
        if unknown := settings.keys() - type(self).model_fields.keys():
            raise KeyError(f"no detector is named {', '.join(sorted(unknown))}")
        return self.model_copy(update=dict(settings))

    def nonfinite_history_batches(self) -> int:
        """How many batches back any detector counts non-finite ones."""
        return max((settings.nonfinite_history_batches() for settings in self.by_name().values()), default=0)


@dataclass(frozen=True, slots=True)
class Registered:
    """One detector, as it registered itself."""

    name: str
    config: type[DetectorConfig]
    family: Family  # of its findings
    moment: Moment
    needs: Callable[[DetectorConfig], int]  # by its settings; see monitor.core.state.occasions
    at_most: Severity  # of its findings, whatever its settings
    detector: Detector

    def signed(self, finding: Finding) -> Finding:
        """The finding with the detector's name and family."""
        return msgspec.structs.replace(finding, detector=self.name, family=self.family.value)

    @property
    def description(self) -> str:
        """What it finds, and what its findings lead to."""
        return f"{sentences_of(self.config)} {self.leads_to}"

    @property
    def leads_to(self) -> str:
        """What its findings lead to at most, by default and with `act` the other way."""
        if self.at_most is Severity.INFO:
            return "It informs; it sends no alert and opens no incident."
        if self.at_most is Severity.WARNING:
            return "It warns; it never opens an incident."
        act = self.config.model_fields.get("act")
        if act is None:
            return "It opens an incident."
        if act.default:
            return "It opens an incident; with act: false it warns."
        return "It warns; with act: true it opens an incident."


_registry: dict[str, Registered] = {}


def register(
    name: str,
    config: type[C],
    family: Family,
    moment: Moment = Moment.NONFINITE,
    *,
    at_most: Severity,
    needs: int | Callable[[C], int] = 0,
) -> Callable[[Callable[[RunView, C], Finding | None]], Callable[[RunView, C], Finding | None]]:
    """Make a function a detector. `name` is also its key under `detectors:` in the policy file.

    Critical findings of one `family` make one incident. One that `needs` something (see monitor.core.state.occasions)
    is asked only at batches where all of those bits are set. `at_most` is the highest severity of its findings: a
    critical one opens an incident. Raises ValueError if the name is taken.
    """

    def add(detector: Callable[[RunView, C], Finding | None]) -> Callable[[RunView, C], Finding | None]:
        if name in _registry:
            raise ValueError(
                f"detector {name!r}: {_registry[name].detector.__module__} and {detector.__module__} register it; "
                "rename one"
            )
        asked = cast("Detector", detector)  # it takes `config` alone, and no section but `name`'s is handed to it
        needed = cast("Callable[[DetectorConfig], int]", needs if callable(needs) else lambda _: needs)
        _registry[name] = Registered(name, config, family, moment, needed, at_most, asked)
        return detector

    return add


def load_all() -> dict[str, Registered]:
    """Every detector of this folder by name, in the order of their names."""
    _import_all()
    return dict(sorted(_registry.items()))


@cache
def _import_all() -> None:
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")


def incident_families() -> tuple[Family, ...]:
    """Every family that can open an incident: those of critical findings, and a person's own."""
    critical = {one.family for one in load_all().values() if one.at_most is Severity.CRITICAL}
    return tuple(family for family in Family if family in critical or family is Family.OPERATOR)


def settings_model() -> type[DetectorSettings]:
    """The section `detectors` of a policy file: a field for each registered detector."""
    fields: dict[str, Any] = {  # what create_model takes: a type that is made here has no static name
        one.name: (one.config, Field(one.config(), description=one.description)) for one in load_all().values()
    }
    return create_model("Detectors", __base__=DetectorSettings, __doc__=DetectorSettings.__doc__, **fields)
