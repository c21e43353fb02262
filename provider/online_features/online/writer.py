"""Sends ready-made script calls to Redis and accounts for every acknowledgement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import redis
from redis.exceptions import NoScriptError

from online_features.counters import RowCounts
from online_features.errors import OnlineDataError
from online_features.online.resp import Buffers
from online_features.online.session import Session

# Calls sent before their replies are read: enough to keep Redis busy during a round trip, few enough that
# replies never fill the socket's buffer while we still send.
CALLS_IN_FLIGHT = 64


class GuardedWriter(Session):
    """A session that writes rows by a guarded script.

    :param connection: taken from the user's pool.
    :param script: Lua source that returns the counts written, stale, expired, deleted.
    """

    def __init__(self, connection: Any, script: str) -> None:
        super().__init__(connection)
        self._script = script

    def write(self, rows: int, calls: Iterator[Buffers]) -> RowCounts:
        """Send the calls and wait until every one of them is acknowledged.

        :param rows: how many rows the calls write.
        :raises OnlineDataError: when the acknowledgements do not account for every row.
        """
        outcomes = [0, 0, 0, 0]
        while some := list(islice(calls, CALLS_IN_FLIGHT)):
            for counts in self._acknowledged(some):
                outcomes = [total + count for total, count in zip(outcomes, counts, strict=True)]
        written, stale, expired, deleted = outcomes
        if sum(outcomes) != rows:
            raise OnlineDataError(f"Redis acknowledged {sum(outcomes)} of {rows} rows; is the script ours?")
        return RowCounts(
            rows_read=rows, rows_written=written, rows_stale=stale, rows_expired=expired, rows_deleted=deleted
        )

    def _acknowledged(self, calls: Sequence[Buffers]) -> list[list[int]]:
        """The reply to each call; calls of a script that the server does not know are made again."""
        replies = self._replies(calls)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            self.command("SCRIPT LOAD", self._script)
            for i, reply in zip(unknown, self._replies([calls[i] for i in unknown]), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return [reply for reply in replies if isinstance(reply, list)]

    def _replies(self, calls: Sequence[Buffers]) -> list[list[int] | redis.ResponseError]:
        payload = b"".join(buffer for call in calls for buffer in call)
        self._connection.send_packed_command([payload])
        self.bytes_sent += len(payload)
        return [self._reply() for _ in calls]

    def _reply(self) -> list[int] | redis.ResponseError:
        # An error is one call's reply, to be judged when the replies to all calls have been read.
        try:
            counts: list[int] = self._connection.read_response()
        except redis.ResponseError as error:
            return error
        return counts


@contextmanager
def guarded_writer(client: redis.Redis, script: str) -> Iterator[GuardedWriter]:
    """A writer on a connection of the client's pool; after a failure the connection is closed, not put back in use."""
    connection: Any = client.connection_pool.get_connection()
    try:
        yield GuardedWriter(connection, script)
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)
