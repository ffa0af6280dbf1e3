"""Silences and acknowledgements over HTTP. Each change is answered after it is on disk."""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.core.model import IncidentAcknowledged, SilenceSet
from monitor.daemon.api.endpoint import Door, Endpoint, Page
from monitor.daemon.clock import Clock
from monitor.daemon.pipeline import Pipeline
from monitor.policyfile.matchers import LABELS

MATCHERS_MAX = 20  # lines of one silence
SILENCE_S_MAX = 30 * 86_400.0  # a longer one is forgotten, and then missed
TEXT_MAX = 200  # characters

Line = Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(LABELS)})=.{{1,200}}$")]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]


class SilenceWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A silence to set: lines of label=pattern that must all match, and for how many seconds from now."""

    match: Annotated[tuple[Line, ...], msgspec.Meta(max_length=MATCHERS_MAX)]
    for_s: Annotated[float, msgspec.Meta(gt=0, le=SILENCE_S_MAX)]
    by: Text = ""
    comment: Text = ""


class SilenceLine(msgspec.Struct, frozen=True):
    """A silence as it is listed."""

    id: str
    match: tuple[str, ...]
    from_s: float
    until_s: float
    by: str
    comment: str
    active: bool


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who has seen an incident."""

    by: Text = ""


class AlertRoutes:
    """The handlers."""

    def __init__(self, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline, self._clock = pipeline, clock

    def endpoints(self) -> list[Endpoint]:
        """Rows of the table of routes."""
        silences = "/api/v1/silences"
        return [
            Endpoint(Door.READ, "GET", silences, self.silences),
            Endpoint(Door.CHANGE, "POST", silences, self.add_silence),
            Endpoint(Door.CHANGE, "POST", f"{silences}/{{silence}}/expire", self.expire_silence),
            Endpoint(Door.CHANGE, "POST", "/api/v1/incidents/{incident}/acknowledge", self.acknowledge),
        ]

    async def silences(self, _: Request, asked: Page) -> list[SilenceLine]:
        """Every silence, the one that ends last first; those that ended stay for some days."""
        known = self._pipeline.core.fleet.silences.values()
        return sorted(map(self._line, known), key=lambda line: -line.until_s)

    async def add_silence(self, _: Request, given: SilenceWanted) -> SilenceLine:
        """Send no alert that matches, until the time is over."""
        now_s = self._clock.now_s()
        added = SilenceSet(secrets.token_hex(4), given.match, now_s, now_s + given.for_s, given.by, given.comment)
        await self._pipeline.submit(added)
        return self._line(added)

    async def expire_silence(self, request: Request) -> SilenceLine:
        """End a silence now. One that has ended stays as it is."""
        id_ = request.path_params["silence"]
        known = self._pipeline.core.fleet.silences.get(id_)
        if known is None:
            raise HTTPException(404, f"silence {id_[:40]!r}: there is none; `trainwarden silence list` shows them")
        now_s = self._clock.now_s()
        if known.until_s > now_s:
            known = msgspec.structs.replace(known, until_s=now_s)
            await self._pipeline.submit(known)
        return self._line(known)

    async def acknowledge(self, request: Request, given: Acknowledgement) -> dict[str, str]:
        """A person has seen the incident: no reminders of it are sent any more. A repeat changes nothing."""
        id_ = request.path_params["incident"]
        for name, run in self._pipeline.core.fleet.runs.items():
            for training in run.trainings.values():
                if any(incident.id == id_ for incident in training.ledger.incidents):
                    await self._pipeline.submit(IncidentAcknowledged(name, id_, given.by or "somebody"))
                    return {"run": name, "incident": id_}
        raise HTTPException(
            404, f"incident {id_[:80]!r}: is not known to this daemon; `trainwarden report RUN` names those of a run"
        )

    def _line(self, silence: SilenceSet) -> SilenceLine:
        now_s = self._clock.now_s()
        return SilenceLine(
            silence.id, silence.match, silence.from_s, silence.until_s, silence.by, silence.comment,
            silence.from_s <= now_s < silence.until_s,
        )  # fmt: skip
