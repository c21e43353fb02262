"""Sends ready-made script calls to Redis and accounts for every acknowledgement."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import redis
from redis.exceptions import NoScriptError

from online_features.common.retry_budget import RetryBudget
from online_features.counters import RowCounts
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.online.redis.redis_failures import is_passing
from online_features.online.redis.session import Session
from online_features.resp.word_columns import Buffers, longest_word

# A packet keeps Redis busy while the next one is put together, and two of them are few enough that replies never fill
# the socket's buffer while we still send.
CALLS_PER_PACKET = 64
PACKETS_IN_FLIGHT = 2


# The longest word of a command that Redis takes; it hangs up on a longer one, and what it says of that may be lost.
LIMIT = "proto-max-bulk-len"
TOO_LONG = "invalid bulk length"
SHORTEST_LIMIT, USUAL_LIMIT = 1024**2, 512 * 1024**2  # bytes


class StateChangedError(Exception):
    """The state of the view is not the one under which the rows were made; none of the call's rows is written."""


class GuardedWriter(Session):
    """A session that writes rows by a guarded script.

    After an interruption it goes on from the first call that was not acknowledged. That call may have been carried
    out: once more does no harm.

    :param client: whose pool the connection was taken from.
    :param script: Lua source that returns the counts written, stale, expired, deleted.
    :param retry_budget: with interruptions.
    """

    def __init__(self, client: redis.Redis, connection: Any, script: str, retry_budget: RetryBudget) -> None:
        super().__init__(client, connection, retry_budget)
        self._script = script

    def write(self, rows: int, calls: Sequence[Buffers]) -> RowCounts:
        """Send the calls and wait until every one of them is acknowledged.

        :param rows: how many rows the calls write.
        :raises OnlineDataError: when the acknowledgements do not account for every row.
        """
        return row_counts(rows, self._acknowledged(calls))

    def write_and_ask(
        self, rows: int, calls: Sequence[Buffers], question: Sequence[str | int]
    ) -> tuple[RowCounts, Any]:
        """Likewise, with a command that follows in the last packet, and its reply.

        :param question: answered when every row is written.
        """
        asked: Buffers = list(self._connection.pack_command(*question))
        *acknowledged, answer = self._acknowledged([*calls, asked])
        return row_counts(rows, acknowledged), answer

    def replies(self, calls: Iterator[Buffers]) -> Iterator[Any]:
        """The reply to each call, in order, errors among them; interruptions are raised."""
        in_flight: deque[list[Buffers]] = deque()
        while True:
            # The next packet is sent before the replies to the last one are read.
            some = list(islice(calls, CALLS_PER_PACKET))
            if not some and not in_flight:
                return
            if some:
                in_flight.append(some)
            unanswered = [call for packet in in_flight for call in packet]
            try:
                if some:
                    self._send(some)
                confirmed = self._confirmed(in_flight) if not some or len(in_flight) == PACKETS_IN_FLIGHT else ()
            except redis.ConnectionError:
                self._check_lengths(unanswered)
                raise
            if any(isinstance(reply, redis.ResponseError) and TOO_LONG in str(reply) for reply in confirmed):
                self._check_lengths(unanswered)
            yield from confirmed

    def asked(self, call: Buffers) -> Any:
        """The reply to a call in a slot that is on its way to this server."""
        # Before the permission to ask, which is for one command.
        self.exchange("SCRIPT LOAD", self._script)
        self.exchange("ASKING")
        (reply,) = self.replies(iter([call]))
        return reply

    def _acknowledged(self, calls: Sequence[Buffers]) -> list[Any]:
        acknowledged: list[Any] = []

        def go_on() -> None:
            for reply in self.replies(islice(calls, len(acknowledged), None)):
                if isinstance(reply, redis.ResponseError):
                    raise StateChangedError if str(reply).startswith("CHANGED") else reply
                acknowledged.append(reply)

        self.steadily(go_on)
        return acknowledged

    def _confirmed(self, in_flight: deque[list[Buffers]]) -> list[Any]:
        """The replies to the oldest packet in flight, or to all of them, where the server does not know the script."""
        calls = in_flight.popleft()
        replies = [self._reply() for _ in calls]
        unknown = next((i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)), None)
        if unknown is not None:
            # From the first one on, so that the order stays; a call that is made twice does no harm.
            for later in in_flight:
                calls = calls + later
                replies += [self._reply() for _ in later]
            in_flight.clear()
            self.exchange("SCRIPT LOAD", self._script)
            self._send(calls[unknown:])
            replies[unknown:] = [self._reply() for _ in calls[unknown:]]
        return replies

    def _check_lengths(self, calls: Sequence[Buffers]) -> None:
        """Find out whether Redis has hung up because of a value that it finds too long.

        :raises InvalidRowsError: naming its length, and what Redis takes.
        """
        longest = max(map(longest_word, calls), default=0)
        if longest < SHORTEST_LIMIT:
            return
        self._connection.disconnect()  # Redis has hung up, or is about to
        try:
            limit = int(self._client.config_get(LIMIT)[LIMIT] or "")
        except (redis.RedisError, LookupError, ValueError):
            limit = USUAL_LIMIT
        if longest > limit:
            raise InvalidRowsError(
                f"a value of {longest:,} bytes is too long for Redis, which takes {limit:,} ({LIMIT}) -> leave it out, "
                f"shorten it, or raise {LIMIT} in Redis's configuration"
            )

    def _send(self, calls: Sequence[Buffers]) -> None:
        payload = b"".join(buffer for call in calls for buffer in call)
        self._connection.send_packed_command([payload])
        self.bytes_sent += len(payload)

    def _reply(self) -> Any:
        # An error is one call's reply, to be judged when the replies to all calls have been read.
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error


def row_counts(rows: int, acknowledged: Iterable[Sequence[int]]) -> RowCounts:
    """The outcomes of rows, as the calls that wrote them have told.

    :raises OnlineDataError: when they do not account for every row.
    """
    outcomes = [0, 0, 0, 0]
    for counts in acknowledged:
        outcomes = [total + count for total, count in zip(outcomes, counts, strict=True)]
    written, stale, expired, deleted = outcomes
    if sum(outcomes) != rows:
        raise OnlineDataError(f"Redis acknowledged {sum(outcomes)} of {rows} rows; is the script ours?")
    return RowCounts(rows_read=rows, rows_written=written, rows_stale=stale, rows_expired=expired, rows_deleted=deleted)


@contextmanager
def guarded_writer(client: redis.Redis, script: str, retry_budget: RetryBudget) -> Iterator[GuardedWriter]:
    """A writer on a connection of the client's pool; after a failure the connection is closed, not put back in use."""
    with retry_budget.attempt(client.client, is_passing) as held:
        try:
            yield GuardedWriter(held, held.connection, script, retry_budget)
        except BaseException:
            held.connection.disconnect()
            raise
