"""Who hears of a run's alerts, out of its policy file. An edge file: reads the files that hold signing secrets."""

from __future__ import annotations

import logging

from alerts.deliver import Receiver
from alerts.outbox import OutboxRow
from alerts.secret import Secret, SecretError
from monitor.core.policy.alert_settings import Heartbeat
from monitor.core.policy.settings import Policy
from monitor.policyfile.receiver_configs import heartbeat_url, receivers_of

log = logging.getLogger("trainwarden.daemon")


class Receivers:
    """The receivers of each run, kept in memory only: the journal holds their URLs masked."""

    def __init__(self) -> None:
        self._of_run: dict[str, dict[str, Receiver]] = {}
        self._policies: dict[str, Policy] = {}
        self._heartbeats: dict[str, Secret] = {}

    def learn(self, run: str, policy: Policy) -> None:
        """From now on the run's alerts go where `policy` says. Raises SecretError for a secret file."""
        receivers, url = receivers_of(policy), heartbeat_url(policy.heartbeat)
        self._of_run[run] = {receiver.name: receiver for receiver in receivers}
        self._policies[run] = policy
        if url is not None:
            self._heartbeats[run] = url

    def learn_or_log(self, run: str, policy: Policy) -> None:
        """As `learn`; where a secret can't be used, the run goes on without its receivers and the log says so."""
        try:
            self.learn(run, policy)
        except SecretError as error:
            log.error("run %s: its alerts wait until the secrets of its receivers can be used: %s", run, error)  # noqa: TRY400 - no traceback

    def policy(self, run: str) -> Policy | None:
        """The policy of the run, as its folder holds it; None: the run has no receivers."""
        return self._policies.get(run)

    def heartbeat(self, run: str) -> tuple[Heartbeat, Secret | None]:
        """How to call the address of the run's heartbeat, and the address; None: it has none."""
        policy = self._policies.get(run)
        return (policy.heartbeat if policy else Heartbeat()), self._heartbeats.get(run)

    def names(self, run: str) -> tuple[str, ...]:
        return tuple(self._of_run.get(run, ()))

    def all_names(self) -> set[tuple[str, str]]:
        """(run, receiver) of each."""
        return {(run, name) for run, receivers in self._of_run.items() for name in receivers}

    def of(self, row: OutboxRow) -> Receiver | None:
        return self._of_run.get(row.lane, {}).get(row.receiver)
