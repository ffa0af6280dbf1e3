"""The numbers of a policy that may be turned, and the values to try. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from pydantic import ValidationError

from monitor.core.detectors import DetectorConfig
from monitor.core.policy.settings import Policy

FACTORS = (0.5, 0.7, 1.4, 2.0, 3.0)  # of the setting in force; those a setting does not allow are left out
Point = tuple[float, ...]  # a value for each parameter


class SearchSpaceError(Exception):
    """A parameter that does not exist, or a value that it does not take: which, and what there is."""


class Parameter(msgspec.Struct, frozen=True):
    """One numeric setting of one detector."""

    detector: str
    setting: str
    values: tuple[float, ...]  # the first is the one in force

    @property
    def name(self) -> str:
        return f"{self.detector}.{self.setting}"


def parameters_of(policy: Policy, detectors: Iterable[str]) -> list[Parameter]:
    """Every numeric setting of the detectors. Raises SearchSpaceError for a name that is not a detector's."""
    found = []
    for detector in detectors:
        settings = _settings(policy, detector)
        for setting in type(settings).model_fields:
            value = getattr(settings, setting)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                tried = (_like(value, value * factor) for factor in FACTORS)
                allowed = (v for v in tried if _valid(settings, {setting: v}))
                found.append(Parameter(detector, setting, tuple(dict.fromkeys([value, *allowed]))))
    return [parameter for parameter in found if len(parameter.values) > 1]


def parameter(policy: Policy, detector: str, setting: str, values: Sequence[float]) -> Parameter:
    """One setting with the values a person gave. Raises SearchSpaceError where it does not take one of them."""
    settings = _settings(policy, detector)
    now = getattr(settings, setting, None)
    if not isinstance(now, (int, float)) or isinstance(now, bool):
        numeric = ", ".join(k.setting for k in parameters_of(policy, [detector])) or "none"
        raise SearchSpaceError(f"{detector}.{setting}: is not a number that can be tried; {detector} has {numeric}")
    tried = [_like(now, value) for value in values]
    if wrong := [value for value in tried if not _valid(settings, {setting: value})]:
        raise SearchSpaceError(
            f"{detector}.{setting}={wrong[0]:g}: is outside what the setting takes; see policy schema"
        )
    return Parameter(detector, setting, tuple(dict.fromkeys([now, *tried])))


def turned(policy: Policy, parameters: Sequence[Parameter], point: Point) -> Policy:
    """The policy with every parameter at its value of the point.

    A detector whose values there exclude each other is off: settings that a policy file may not hold find nothing.
    """
    values: dict[str, dict[str, float]] = {}
    for one, value in zip(parameters, point, strict=True):
        values.setdefault(one.detector, {})[one.setting] = value
    now = policy.detectors.by_name()
    changed = {
        name: now[name].model_copy(update=settings if _valid(now[name], settings) else {"enabled": False})
        for name, settings in values.items()
    }
    return policy.model_copy(update={"detectors": policy.detectors.changed(changed)})


def only(policy: Policy, detectors: Iterable[str], *, on: bool) -> Policy:
    """The policy with no detectors but these (`on`), or with all but these."""
    chosen = set(detectors)
    changed = {
        name: settings.model_copy(update={"enabled": settings.enabled and (name in chosen) is on})
        for name, settings in policy.detectors.by_name().items()
    }
    return policy.model_copy(update={"detectors": policy.detectors.changed(changed)})


def _settings(policy: Policy, detector: str) -> DetectorConfig:
    known = policy.detectors.by_name()
    if detector not in known:
        raise SearchSpaceError(f"{detector!r}: is not a detector; there are {', '.join(known)}")
    return known[detector]


def _like(kind: float, value: float) -> float:
    return round(value) if isinstance(kind, int) else float(f"{value:.3g}")


def _valid(settings: DetectorConfig, changed: dict[str, float]) -> bool:
    try:
        type(settings).model_validate({**settings.model_dump(), **changed})
    except ValidationError:
        return False
    return True
