"""What people write about alerts in a policy file: receivers, routes, events, quiet hours, heartbeat. No I/O.

A receiver's own keys are in the config of its notifier (alerts/notifiers), one file a kind;
monitor/policyfile/receiver_configs.py checks them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat, SecretStr, SerializerFunctionWrapHandler, model_serializer

from monitor.core.model import Severity
from monitor.core.model.section import Section

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,40}$"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
MATCHER_PATTERN = r"^[a-z_]{1,40}=.{1,200}$"
MASK = "**********"  # what pydantic shows of a SecretStr
SHOWN_ENDS = ("_file", "_env")  # keys that say where a secret is, and hold none


class ReceiverSettings(Section, extra="allow"):
    """Somebody who gets alerts: a name, a kind, and the keys of that kind. Texts of its own keys are never shown."""

    EXAMPLE: ClassVar[dict[str, str]] = {"url_file": "~/.config/trainwarden/phone.url"}

    name: str = Field(
        pattern=NAME_PATTERN,
        examples=["phone"],
        description="This is the name of the receiver in logs, metrics, routes and commands. Each needs its own.",
    )
    kind: str = Field(
        pattern=NAME_PATTERN,
        examples=["webhook"],
        description="This is the kind of the receiver. docs/alerts.md lists the kinds and the keys of each, which "
        "stand beside this one. A secret key `url` may be written as `url_file`, the path of a file that holds it, or "
        "as `url_env`, the name of an environment variable of the daemon.",
    )
    severity: Severity = Field(
        Severity.INFO,
        description="Only alerts of this severity or a higher one are sent: info, warning or critical. The default "
        "is info, which is every alert.",
    )

    @model_serializer(mode="wrap")
    def _masked(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Texts are masked: which of them are secrets, only the kind's config knows."""
        return {
            key: shown(key, value) if key not in type(self).model_fields else value
            for key, value in plain(self).items()
        }

    def __repr_args__(self) -> Any:
        return [("name", self.name), ("kind", self.kind)]


def shown(key: str, value: Any) -> Any:
    """A receiver's own value as journal and people may see it."""
    harmless = isinstance(value, (bool, int, float)) or value is None or key.endswith(SHOWN_ENDS)
    return value if harmless else MASK


class Route(Section):
    """Which alerts go to which receivers."""

    match: tuple[Annotated[str, Field(pattern=MATCHER_PATTERN)], ...] = Field(
        (),
        examples=['["severity=critical", "run=night-*"]'],
        description="An alert matches if every label does. Each line is label=pattern, where * stands for any text and "
        "a|b for either. Labels are run, title, kind, family, severity, training and incident. Without a line every "
        "alert matches.",
    )
    receivers: tuple[Annotated[str, Field(pattern=NAME_PATTERN)], ...] = Field(
        examples=["[phone]"],
        description="The alerts that match go to the receivers and webhooks of these names. An empty list sends them "
        "to nobody.",
    )


class Alerts(Section):
    """Which events people hear of, and how often."""

    finished: bool = Field(
        False,
        description="With true an alert says that a training finished, with its last metrics. The default is false "
        "because most people want to hear only of trouble.",
    )
    crashed: bool = Field(
        True,
        description="With true an alert says that the training's process died, with the exception, and whether it is "
        "started again.",
    )
    stuck: bool = Field(True, description="With true an alert says that the training stands still, and where.")
    nan: bool = Field(True, description="With true an alert says that batches are not finite.")
    rolled_back: bool = Field(
        True, description="With true an alert says that trainwarden went back to a checkpoint or changed settings."
    )
    given_up: bool = Field(
        True, description="With true an alert says that trainwarden gave up, and that a person must decide."
    )
    page_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s]{1,200}$",
        examples=["https://gpu-box.example.org"],
        description="The page of the daemon is reached at this address, from where alerts are read, such as a tunnel "
        "or a VPN. Alerts then lead to their incident there. The default is null: alerts have no link.",
    )
    repeat_interval_h: float | None = Field(
        None,
        gt=0,
        le=1000,
        examples=[4],
        description="A reminder of an incident that is still open is sent after this many hours, and again after as "
        "many, until somebody acknowledges it. The default is null: no reminder.",
    )
    rate_limit_per_hour: int = Field(
        30,
        ge=1,
        le=1000,
        description="A receiver gets at most this many alerts in an hour; critical ones are counted apart from the "
        "others. What is over the limit waits, and comes as one message when the hour is over. Thirty are more "
        "than a healthy night has.",
    )


class QuietHours(Section):
    """The hours in which only severe alerts are sent."""

    start: str | None = Field(
        None,
        pattern=CLOCK_PATTERN,
        examples=["22:00"],
        description='The quiet hours begin at this time of the daemon\'s clock, such as "22:00" in quotes. The default '
        "is null: there are none.",
    )
    end: str | None = Field(
        None,
        pattern=CLOCK_PATTERN,
        examples=["07:00"],
        description="The quiet hours end at this time; what waited is then sent as one message.",
    )
    let_through: Severity = Field(
        Severity.CRITICAL,
        description="Alerts of this severity or a higher one are sent in the quiet hours too. The default is critical.",
    )


class Milestones(Section):
    """Good news that are sent."""

    first_epoch: bool = Field(
        False,
        description="With true an alert says that the first epoch is done. From then on it is known how long the "
        "training will take.",
    )
    every_epochs: int | None = Field(
        None,
        ge=1,
        examples=[10],
        description="An alert is sent each time so many epochs are done. The default is null: none.",
    )
    best: str | None = Field(
        None,
        pattern=r"^.{1,200}$",
        examples=["accuracy"],
        description="An alert is sent when this metric of the validation has a new best value. The default is null: "
        "none.",
    )
    lower_is_better: bool = Field(
        False, description="With true the lowest value of that metric is its best, as for a loss."
    )


class Heartbeat(Section):
    """An address that is called while a training progresses."""

    url: SecretStr | None = Field(
        None,
        examples=["https://hc-ping.com/your-uuid"],
        description="This address gets an empty POST while a training progresses, such as a check of healthchecks.io. "
        "The default is null: none is called.",
    )
    url_file: str | None = Field(
        None, description="This is the path of a file that holds the address, in place of `url`."
    )
    url_env: str | None = Field(
        None, description="This is the name of an environment variable of the daemon that holds the address."
    )
    every_s: float = Field(
        60.0,
        ge=1,
        description="The address is called this often. Give the service outside a longer period than this, with a "
        "grace time.",
    )
    patience_s: PositiveFloat = Field(
        1800.0,
        description="The calls end where no batch, validation or save was seen for this many seconds. Half an hour is "
        "longer than nearly every validation.",
    )


class Webhook(Section):
    """A receiver of alerts that gets a JSON body by HTTP POST."""

    name: str = Field(
        "webhook",
        pattern=NAME_PATTERN,
        examples=["ops"],
        description="This is the name of the receiver in logs, metrics and status. Each webhook needs its own.",
    )
    url: SecretStr = Field(
        examples=["https://example.org/hook"],
        description="Alerts are posted to this address, which begins with https:// or http://.",
    )
    secret_file: str | None = Field(
        None,
        examples=["~/.config/trainwarden/webhook.secret"],
        description="This is the absolute path of the file that holds the signing secret, one a line, for signatures "
        "as Standard Webhooks defines them. Null sends without a signature; two lines are for changing "
        "the secret.",
    )
    timeout_s: PositiveFloat = Field(
        10.0,
        description="The receiver gets this many seconds to answer before the delivery is tried again. Ten are enough "
        "for a slow service and do not hold up later alerts.",
    )
    allow_link_local: bool = Field(
        False,
        description="With true the address may lead to a link-local one (169.254.0.0/16 or fe80::/10). The default "
        "refuses these, because cloud machines hand out their keys there.",
    )
