"""One connection to Redis that a run holds on to, through interruptions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import redis

from online_features.common.retry_budget import RetryBudget
from online_features.online.redis.redis_failures import is_passing, is_refused, lasting
from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import Server, server

T = TypeVar("T")

# Longer than any run; the marker of a crashed run is gone after it.
RUN_MARKER_MILLISECONDS = timedelta(days=7) // timedelta(milliseconds=1)


class AnySession(Protocol):
    """What a run asks Redis by, be it one server or a cluster."""

    def command(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked again after an interruption."""

    def reply(self, *words: str | bytes | int) -> Any:
        """Likewise, or the error with which Redis refuses for good."""

    def exchange(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked once."""

    def steadily(self, do: Callable[[], T]) -> T:
        """What ``do`` returns, done again after an interruption."""
        ...

    def servers(self) -> frozenset[Server]:
        """The servers that hold what is written."""
        ...

    def await_replicas(self, key: str, replication: Replication) -> None:
        """Wait until replicas have what was written."""


class Session:
    """One connection to one server, held for as long as a run lasts, and made again when it is lost.

    :param client: whose pool the connection was taken from.
    :param retry_budget: with interruptions.
    """

    def __init__(self, client: redis.Redis, connection: Any, retry_budget: RetryBudget) -> None:
        self._client = client
        self._connection = connection
        self._retry_budget = retry_budget
        self._connections = 1
        self._is_lost = False
        self.bytes_sent = 0

    def command(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked again after an interruption: it may have been carried out twice."""
        return self.steadily(partial(self.exchange, *words))

    def reply(self, *words: str | bytes | int) -> Any:
        """Likewise, or the error with which Redis refuses for good."""
        return self.steadily(partial(self._reply_to, *words))

    def exchange(self, *words: str | bytes | int) -> Any:
        """The reply to one command, asked once."""
        self._connection.send_command(*words)
        return self._connection.read_response()

    def steadily(self, do: Callable[[], T]) -> T:
        """What ``do`` returns, done again after an interruption, on a new connection.

        :raises redis.RedisError: when it cannot succeed, or patience is at an end.
        """
        with lasting(self._retry_budget):
            return self._retry_budget.attempt(partial(self._attempt, do), is_passing)

    def servers(self) -> frozenset[Server]:
        """The server that holds what the session has written, as it is now; to be asked within :meth:`steadily`."""
        # Without a run_id the server cannot be identified, so every other connection may lead to another one.
        anonymous = f"connection {self._connections}"
        try:
            return frozenset([server(self._parsed("INFO"), anonymous)])
        except redis.ResponseError as refusal:
            if not is_refused(refusal):
                raise
            return frozenset([Server(identity=anonymous)])

    def await_replicas(self, key: str, replication: Replication) -> None:
        """Wait until replicas have what the session has written; to be asked within :meth:`steadily`.

        :param key: of the run's marker, which is written to for it: ``WAIT`` is for what its own connection has
            written, and this may not be the one that has written the rows.
        :raises NotReplicatedError: when there are too few in time.
        """
        if replication.replicas:
            self.exchange("PEXPIRE", key, RUN_MARKER_MILLISECONDS)
            replication.await_replicas(self.exchange)

    def _reply_to(self, *words: str | bytes | int) -> Any:
        try:
            return self.exchange(*words)
        except redis.ResponseError as refusal:
            if is_passing(refusal):
                raise
            return refusal

    def _attempt(self, do: Callable[[], T]) -> T:
        if self._is_lost:
            self._connection.connect()
            self._connections += 1
            self._is_lost = False
        try:
            return do()
        except BaseException:
            # Replies may be on their way that nobody will read.
            self._connection.disconnect()
            self._is_lost = True
            raise

    def _parsed(self, command: str) -> Any:
        self._connection.send_command(command)
        return self._client.parse_response(self._connection, command)  # type: ignore[no-untyped-call]
