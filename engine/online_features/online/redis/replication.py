"""Waits until replicas of Redis have what was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from online_features.errors import NotReplicatedError, OptionError

REPLICA_TIMEOUT = timedelta(seconds=10)
WAIT_SECONDS = 0.1  # of one WAIT command: less than any client's time-out


@dataclass(frozen=True, kw_only=True)
class Replication:
    """How many replicas must have a run's rows before the run counts.

    :param what: what is written, as the beginning of messages.
    :param replicas: of each server that holds rows; zero asks for none.
    :param timeout: how long to wait for them.
    :raises OptionError: when one of them is negative.
    """

    what: str
    replicas: int = 0
    timeout: timedelta = REPLICA_TIMEOUT

    def __post_init__(self) -> None:
        if self.replicas < 0 or self.timeout < timedelta(0):
            raise OptionError(
                f"wait_for_replicas={self.replicas!r} and replica_timeout={self.timeout!r} must not be negative"
            )

    def await_replicas(self, exchange: Callable[..., Any]) -> None:
        """Wait until enough replicas have what was written.

        :param exchange: sends a command on the connection that has written last, and returns the reply.
        :raises NotReplicatedError: when there are too few in time.
        """
        if not self.replicas:
            return
        deadline = time.monotonic() + self.timeout.total_seconds()
        while (reached := exchange("WAIT", self.replicas, int(WAIT_SECONDS * 1000))) < self.replicas:
            if time.monotonic() >= deadline:
                raise NotReplicatedError(
                    f"{self.what}: {reached} of {self.replicas} replicas have the run's rows after "
                    f"{self.timeout.total_seconds():g} seconds; the watermark has not moved -> look at replication in "
                    "Redis, or wait for fewer"
                )
