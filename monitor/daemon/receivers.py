"""Who hears of a run's alerts, out of its policy file. An edge file: reads the files that hold signing secrets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from alerts.deliver import Receiver
from alerts.outbox import OutboxRow
from alerts.secret import Secret, SecretError
from monitor.core.policy.alert_settings import Heartbeat
from monitor.core.policy.settings import Policy
from monitor.policyfile.receiver_configs import heartbeat_url, receivers_of

AGAIN_S = 60.0  # a secret that could not be used is looked for again this often

log = logging.getLogger("trainwarden.daemon")


class Receivers:
    """The receivers of each run, kept in memory only: the journal holds their URLs masked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_run: dict[str, dict[str, Receiver]] = {}
        self._policies: dict[str, Policy] = {}
        self._heartbeats: dict[str, Secret] = {}
        self._clock = clock
        self._again_s: dict[str, float] = {}  # by run: when what is missing is looked for again

    def learn(self, run: str, policy: Policy) -> None:
        """From now on the run's alerts go where `policy` says. Raises SecretError where a secret can't be used.

        Alerts of a receiver whose secret can't be used wait for it; the others get theirs.
        """
        problems: list[SecretError] = []
        found: dict[str, Receiver] = {}
        for name in policy.receiver_names:
            try:
                found |= {one.name: one for one in receivers_of(policy, name)}
            except SecretError as error:
                problems.append(error)
        self._of_run[run], self._policies[run] = found, policy
        self._again_s[run] = self._clock() + AGAIN_S
        try:
            if (url := heartbeat_url(policy.heartbeat)) is not None:
                self._heartbeats[run] = url
        except SecretError as error:
            problems.append(error)
        if problems:
            raise problems[0]

    def learn_or_log(self, run: str, policy: Policy) -> None:
        """As `learn`; where a secret can't be used, the run goes on without that receiver and the log says so."""
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
        """Of every receiver, also where its secret can't be used yet."""
        policy = self._policies.get(run)
        return policy.receiver_names if policy is not None else ()

    def all_names(self) -> set[tuple[str, str]]:
        """(run, receiver) of each."""
        return {(run, name) for run, policy in self._policies.items() for name in policy.receiver_names}

    def of(self, row: OutboxRow) -> Receiver | None:
        """The receiver of a row; None: there is none of its name, or its secret can't be used yet."""
        found = self._of_run.get(row.lane, {}).get(row.receiver)
        policy = self._policies.get(row.lane)
        missing = found is None and policy is not None and row.receiver in policy.receiver_names
        if policy is None or not missing or self._clock() < self._again_s[row.lane]:
            return found
        self.learn_or_log(row.lane, policy)
        return self._of_run[row.lane].get(row.receiver)
