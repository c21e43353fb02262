"""Sends calls of scripts in packets on one connection to one server, and reads the reply to each."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import redis

from online_features.errors import InvalidRowsError
from online_features.online.redis._replies import read_replies
from online_features.online.redis.clients import PURPOSE
from online_features.online.redis.redis_failures import refusal_ignored
from online_features.online.redis.row_calls import PackedCall
from online_features.online.redis.scripts import Script, unknown

# A packet keeps Redis busy while the next one is put together. Two of them are few enough that replies never fill the
# socket's buffer while we still send, and that Redis, which carries out all that has arrived of one client before it
# looks at the next one, soon answers readers.
CALLS_PER_PACKET = 16
PACKETS_IN_FLIGHT = 2

# The setting for the longest word of a command that Redis accepts. It closes the connection on a longer one, and its
# error may be lost.
LIMIT = "proto-max-bulk-len"
TOO_LONG = "invalid bulk length"
SHORTEST_LIMIT, USUAL_LIMIT = 1024**2, 512 * 1024**2  # bytes

LINE_END = b"\r\n"
WORD = b"$"  # begins the length of a word; before the first word is their number

CREATED = {1, b"OK", "OK"}  # replies to commands that have created a row: SETNX, and SET with NX


class CallPipeline:
    """Sends calls on a connection, and loads the scripts that the server lacks.

    :param client: of the server.
    :param connection: of the client's pool, for the pipeline alone.
    :ivar bytes_sent: of calls.
    """

    def __init__(self, client: redis.Redis, connection: Any) -> None:
        self.client = client
        self.connection = connection
        self.bytes_sent = 0

    def exchange(self, *words: str | bytes | int) -> Any:
        """Return the reply to one command."""
        self.connection.send_command(*words)
        return self.connection.read_response()

    def packed(self, *words: str | bytes | int) -> PackedCall:
        """Return a command as a call."""
        return PackedCall(list(self.connection.pack_command(*words)))

    def replies(self, calls: Iterator[PackedCall]) -> Iterator[Any]:
        """Yield the reply to each call, in order, errors among them; interruptions are raised."""
        in_flight: deque[list[PackedCall]] = deque()
        while True:
            # The next packet is sent before the replies to the last one are read.
            packet = list(islice(calls, CALLS_PER_PACKET))
            if not packet and not in_flight:
                return
            if packet:
                in_flight.append(packet)
            unanswered = [call for sent in in_flight for call in sent]
            try:
                if packet:
                    self._send(packet)
                replies = self._acknowledged(in_flight) if not packet or len(in_flight) == PACKETS_IN_FLIGHT else ()
            except redis.ConnectionError:
                self._check_lengths(unanswered)
                raise
            if any(isinstance(reply, redis.ResponseError) and TOO_LONG in str(reply) for reply in replies):
                self._check_lengths(unanswered)
            yield from replies

    def asked(self, call: PackedCall) -> Any:
        """Return the reply to a call in a slot that is moving to this server."""
        self.exchange("ASKING")
        # It holds for one command only, so none is left to load a script with.
        (reply,) = self.replies(iter([call.in_full()]))
        return reply

    def _acknowledged(self, in_flight: deque[list[PackedCall]]) -> list[Any]:
        """Return the replies to the oldest packet in flight, or to all packets if the server lacks a script."""
        calls = in_flight.popleft()
        replies = self._replies(calls)
        if unknown(replies):
            for later in in_flight:
                calls = calls + later
                replies += self._replies(later)
            in_flight.clear()
            for script in {calls[i].script for i in unknown(replies)}:
                if script is not None:
                    self._load(script)
            self._send_again(calls, replies)
            # The server may refuse to load scripts, and a proxy may send each call to another server, which has a
            # script cache of its own.
            if unknown(replies):
                self._send_again([call.in_full() for call in calls], replies)
        return replies

    def _load(self, script: Script) -> None:
        with refusal_ignored():
            self.exchange(*script.load)

    def _send_again(self, calls: Sequence[PackedCall], replies: list[Any]) -> None:
        """Send calls again from the first whose script the server lacked, to keep their order; that does no harm."""
        first = unknown(replies)[0]
        self._send(calls[first:])
        replies[first:] = self._replies(calls[first:])

    def _check_lengths(self, calls: Sequence[PackedCall]) -> None:
        """Find out whether Redis has closed the connection because a value is too long.

        :raises InvalidRowsError: naming its length, and what Redis takes.
        """
        longest = max(map(_longest_word, calls), default=0)
        if longest < SHORTEST_LIMIT:
            return
        self.connection.disconnect()  # Redis has closed it, or is about to
        try:
            limit = int(self.client.config_get(LIMIT)[LIMIT] or "")
        except (redis.RedisError, LookupError, ValueError):
            limit = USUAL_LIMIT
        if longest > limit:
            raise InvalidRowsError(
                f"a value of {longest:,} bytes is too long for Redis, which takes {limit:,} ({LIMIT}) -> leave it out, "
                f"shorten it, or raise {LIMIT} in Redis's configuration"
            )

    def _send(self, calls: Sequence[PackedCall]) -> None:
        payload = b"".join(buffer for call in calls for buffer in call.buffers)
        self.connection.send_packed_command([payload])
        self.bytes_sent += len(payload)

    def _replies(self, calls: Sequence[PackedCall]) -> list[Any]:
        # An error is the reply to one call; the caller handles it after all replies have been read.
        replies = iter(read_replies(self.connection, sum(len(call.creates) or 1 for call in calls)))
        return [
            _refused(call, [*islice(replies, len(call.creates))]) if call.creates else next(replies) for call in calls
        ]


@contextmanager
def call_pipeline(
    client: redis.Redis, connected: Callable[[Callable[[], Any]], Any] = operator.call
) -> Iterator[CallPipeline]:
    """Open a pipeline; close its connection after a failure, because replies may still arrive on it.

    :param connected: returns what a function returns that connects, perhaps after more than one attempt.
    """
    pool: Any = client.connection_pool
    # Not the connection of a client that has only one: redis-py may renew its credentials while we await replies.
    connection = connected(partial(pool.get_connection, *PURPOSE))
    try:
        yield CallPipeline(client, connection)
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _refused(call: PackedCall, replies: Sequence[Any]) -> list[int]:
    """Return the numbers of the rows that a call did not create.

    Their keys hold something, their slots have moved, or there is another error: the script will meet it, too.
    """
    if CREATED.issuperset(replies):
        return []
    return [row for row, reply in zip(call.creates, replies, strict=True) if reply not in CREATED]


def _longest_word(call: PackedCall) -> int:
    """Return the length in bytes of the longest word of a call."""
    wire = b"".join(call.buffers)
    at = longest = 0
    while at < len(wire):
        end = wire.index(LINE_END, at)
        if wire.startswith(WORD, at):
            length = int(wire[at + len(WORD) : end])
            longest = max(longest, length)
            end += len(LINE_END) + length
        at = end + len(LINE_END)
    return longest
