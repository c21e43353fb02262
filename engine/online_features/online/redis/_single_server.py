"""Access to one Redis server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import redis

from online_features.common.retry_budget import RetryBudget
from online_features.layouts.layout import Key
from online_features.online.redis._replies import read_replies, read_replies_async
from online_features.online.redis.clients import PURPOSE
from online_features.online.redis.deployment import RUN_MARKER_MILLISECONDS, Deployment, Session
from online_features.online.redis.redis_failures import lasting, refusal_ignored
from online_features.online.redis.replication import Replication
from online_features.online.redis.scripts import Script
from online_features.online.redis.servers import Server, server
from online_features.resp.commands import Command, Word, packed

if TYPE_CHECKING:
    import numpy as np

    from online_features.layouts.encoder import EncodedRows
    from online_features.online.redis._call_pipeline import CallPipeline
    from online_features.online.redis.row_calls import PackedCall

T = TypeVar("T")


class SingleServer(Deployment):
    """One server, and its replicas."""

    state_is_beside_rows: ClassVar[bool] = True
    primaries: ClassVar[int] = 1

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together, errors among them.

        This is what redis-py's ``Pipeline.execute`` does without a transaction, with commands that are packed already.
        """
        packet, pool = packed(commands), self.client.connection_pool
        connection = pool.get_connection(*PURPOSE)

        def exchange() -> list[Any]:
            connection.send_packed_command([packet])
            return read_replies(connection, len(commands))

        try:
            replies: list[Any] = connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
        finally:
            pool.release(connection)
        return replies

    def parts(self, keys: Sequence[Key]) -> list[list[int]]:
        """Return the indices of all keys: one call can take them."""
        return [[*range(len(keys))]] if keys else []

    def packed_calls(self, script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
        """Make calls of the rows in their order."""
        from online_features.online.redis.row_calls import calls_in_order

        return calls_in_order(script, rows, own_words)

    def packed_creates(self, rows: EncodedRows, chosen: np.ndarray) -> Iterator[PackedCall]:
        """Make calls that create rows, in their order."""
        from online_features.online.redis.row_calls import creates_in_order

        return creates_in_order(rows, chosen)

    @contextmanager
    def session(self, retry_budget: RetryBudget, replication: Replication) -> Iterator[Session]:  # noqa: ARG002
        """Open a session on one connection; a run waits for replicas when it ends."""
        from online_features.online.redis._call_pipeline import call_pipeline

        with call_pipeline(self.client, partial(retry_budget.attempt, is_passing=self.may_pass)) as pipeline:
            yield ServerSession(pipeline, retry_budget, self.may_pass)


class ServerSession(Session):
    """One connection to one server, which is opened again when it is lost."""

    def __init__(
        self, pipeline: CallPipeline, retry_budget: RetryBudget, may_pass: Callable[[BaseException], bool]
    ) -> None:
        super().__init__(retry_budget, may_pass)
        self._pipeline = pipeline
        self._connections = 1
        self._is_lost = False

    @property
    def bytes_sent(self) -> int:
        """Bytes of calls sent so far."""
        return self._pipeline.bytes_sent

    def exchange(self, *words: Word | int) -> Any:
        """Return the reply to a command that is sent once."""
        return self._pipeline.exchange(*words)

    def steadily(self, do: Callable[[], T]) -> T:
        """Return what ``do`` returns; do it again after an interruption, on a new connection."""
        with lasting(self._retry_budget):
            return self._retry_budget.attempt(partial(self._attempt, do), self._may_pass)

    def servers(self) -> frozenset[Server]:
        """Return the server, as it is now."""
        # Without a run_id the server cannot be identified, so every other connection may lead to another one.
        anonymous = f"connection {self._connections}"
        info: Any = {}
        with refusal_ignored():
            info = self._info()
        return frozenset([server(info, anonymous)])

    def await_replicas(self, key: str, replication: Replication) -> None:
        """Wait until replicas have what the session has written.

        Write to the marker first: ``WAIT`` covers writes of its own connection, and the rows may have been written on
        an earlier one.
        """
        if replication.replicas:
            self.exchange("PEXPIRE", key, RUN_MARKER_MILLISECONDS)
            replication.await_replicas(self.exchange)

    def send(self, calls: Sequence[PackedCall], then: Sequence[Word | int] = ()) -> list[Any]:
        """Send calls, then a command, and go on from the first that was not acknowledged."""
        every = [*calls, self._pipeline.packed(*then)] if then else calls
        acknowledged: list[Any] = []

        def go_on() -> None:
            for reply in self._pipeline.replies(islice(every, len(acknowledged), None)):
                if isinstance(reply, redis.ResponseError):
                    raise reply
                acknowledged.append(reply)

        self.steadily(go_on)
        return acknowledged

    def _attempt(self, do: Callable[[], T]) -> T:
        if self._is_lost:
            self._pipeline.connection.connect()
            self._connections += 1
            self._is_lost = False
        try:
            return do()
        except BaseException:
            # Replies that were not read may still arrive on this connection.
            self._pipeline.connection.disconnect()
            self._is_lost = True
            raise

    def _info(self) -> Any:
        connection = self._pipeline.connection
        connection.send_command("INFO")
        return self._pipeline.client.parse_response(connection, "INFO")  # type: ignore[no-untyped-call]


class AsyncSingleServer:
    """One server, for readers on asyncio."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands that are sent together, errors among them."""
        packet, pool = packed(commands), self.client.connection_pool
        connection = await pool.get_connection(*PURPOSE)

        async def exchange() -> list[Any]:
            await connection.send_packed_command([packet])
            return await read_replies_async(connection, len(commands))

        try:
            replies: list[Any] = await connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
        finally:
            await pool.release(connection)
        return replies

    async def primaries(self) -> int:
        """Return the number of primaries, which is 1."""
        return 1
