"""The interface to Redis for the rest of the package, the same for one server and for a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import redis

from online_features.common.retry_budget import RetryBudget
from online_features.layouts.layout import Key
from online_features.online.redis.clients import renews_login
from online_features.online.redis.redis_failures import Client, is_passing, refusal_ignored
from online_features.online.redis.replication import Replication
from online_features.online.redis.scripts import Script, unknown
from online_features.online.redis.servers import Server
from online_features.resp.commands import Command, Word

if TYPE_CHECKING:
    import numpy as np

    from online_features.layouts.encoder import EncodedRows
    from online_features.online.redis.row_calls import PackedCall

T = TypeVar("T")

SCAN_COUNT = 1000  # keys per step of a scan, so that no step blocks Redis for long
KEYS_PER_CALL = 500  # a call blocks Redis for a few microseconds a key

# Longer than any run; the marker of a crashed run is gone after it.
RUN_MARKER_MILLISECONDS = timedelta(days=7) // timedelta(milliseconds=1)


class Session(ABC):
    """A run's access to Redis, which retries after interruptions.

    :param retry_budget: of all retries of the session.
    :param may_pass: whether a failure may pass by itself.
    """

    def __init__(self, retry_budget: RetryBudget, may_pass: Callable[[BaseException], bool]) -> None:
        self._retry_budget = retry_budget
        self._may_pass = may_pass

    def command(self, *words: Word | int) -> Any:
        """Return the reply to a command; an interruption may cause it to be carried out twice."""
        return self.steadily(partial(self.exchange, *words))

    def reply(self, *words: Word | int) -> Any:
        """Return the reply to a command, or the error with which Redis refuses it for good."""
        return self.steadily(partial(self._reply, *words))

    def clock(self) -> int:
        """Return the milliseconds since the epoch by the clock of a server."""
        seconds, microseconds = self.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    @property
    @abstractmethod
    def bytes_sent(self) -> int:
        """Bytes of calls sent so far."""

    @abstractmethod
    def exchange(self, *words: Word | int) -> Any:
        """Return the reply to a command that is sent once."""

    @abstractmethod
    def steadily(self, do: Callable[[], T]) -> T:
        """Return what ``do`` returns; do it again after an interruption.

        :raises redis.RedisError: when it cannot succeed, or the retry budget is spent.
        """

    @abstractmethod
    def servers(self) -> frozenset[Server]:
        """Return the servers that hold what is written, as they are now; call it within :meth:`steadily`."""

    @abstractmethod
    def await_replicas(self, key: str, replication: Replication) -> None:
        """Wait until replicas have what the session has written; call it within :meth:`steadily`.

        :param key: of the run's marker.
        :raises NotReplicatedError: when there are too few in time.
        """

    @abstractmethod
    def send(self, calls: Sequence[PackedCall], then: Sequence[Word | int] = ()) -> list[Any]:
        """Send calls, and return their replies when every one of them is acknowledged.

        After an interruption, send the calls again that were not acknowledged. If they were carried out, a second time
        does no harm.

        :param then: the words of a command to send after all calls; its reply comes last.
        :raises NotReplicatedError: in a cluster, when too few replicas have the rows in time.
        """

    def _reply(self, *words: Word | int) -> Any:
        try:
            return self.exchange(*words)
        except redis.ResponseError as refusal:
            if is_passing(refusal):
                raise
            return refusal


class Deployment(ABC):
    """A Redis that holds feature views: one server or a cluster.

    :cvar state_is_beside_rows: whether a script can reach the state of a view and its rows, and both are lost together.
    :ivar client: of redis-py, which the user has made.
    """

    state_is_beside_rows: ClassVar[bool]

    def __init__(self, client: Client) -> None:
        self.client: Any = client
        self._renews_login = renews_login(client)

    def may_pass(self, failure: BaseException) -> bool:
        """Return whether the same command may succeed later; after a refused login, if the next one is another."""
        return is_passing(failure) or (self._renews_login and isinstance(failure, redis.AuthenticationError))

    def command(self, *words: Word | int) -> Any:
        """Return the reply to a command."""
        return self.client.execute_command(*words)

    def scan(self, pattern: Key) -> Iterator[Key]:
        """Return the keys that a pattern matches; a key may come twice."""
        return self.client.scan_iter(match=pattern, count=SCAN_COUNT)  # type: ignore[no-any-return]

    @abstractmethod
    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together, errors among them."""

    def replies(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together.

        :raises redis.RedisError: the first error among them.
        """
        return _raised(self.exchange(commands))

    @property
    @abstractmethod
    def primaries(self) -> int:
        """How many nodes have keys of their own."""

    @abstractmethod
    def parts(self, keys: Sequence[Key]) -> list[list[int]]:
        """Return the indices of the keys that one call can take, for each call."""

    def call(self, script: Script, calls: Sequence[tuple[Sequence[Key], Sequence[Key]]]) -> list[Any]:
        """Return the replies of a row script.

        :param calls: keys of rows and words of each call.
        :raises redis.RedisError: the first error among the replies.
        """
        replies = self._replies([script.call(keys, words) for keys, words in calls])
        if unknown(replies):
            with refusal_ignored():
                self.client.script_load(script.source)
        # In full if it is still unknown: the server may refuse to load scripts, and a proxy may send each call to
        # another server, which has a script cache of its own.
        for form in (script.call, script.call_in_full):
            # Only some nodes of a cluster may lack the script. The other calls are not repeated: their counts would
            # differ.
            again = unknown(replies)
            for i, reply in zip(again, self._replies([form(*calls[i]) for i in again]), strict=True):
                replies[i] = reply
        return _raised(replies)

    @abstractmethod
    def packed_calls(self, script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
        """Make calls of a row script, ready for the wire.

        :param own_words: before those of the rows.
        """

    @abstractmethod
    def packed_creates(self, rows: EncodedRows, chosen: np.ndarray) -> Iterator[PackedCall]:
        """Make calls that create rows whose keys hold nothing.

        The reply to each call is the numbers of the rows that it did not create.

        :param chosen: the numbers of the rows, each of which has one word and does not delete its entity.
        """

    @abstractmethod
    def session(self, retry_budget: RetryBudget, replication: Replication) -> AbstractContextManager[Session]:
        """Return a session, which is closed with its context.

        :param replication: what must be copied: in a cluster before a call is acknowledged.
        """

    def _replies(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        if not commands:
            return []
        with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies


def _raised(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


class AsyncDeployment(Protocol):
    """The part of :class:`Deployment` that readers on asyncio need."""

    client: Any

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together, errors among them."""
        ...

    async def primaries(self) -> int:
        """Return how many nodes have keys of their own."""
        ...
