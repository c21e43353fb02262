"""Stores for tests of readers, with and without asyncio, whose connections count round trips."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from online_features import AsyncOnlineStore, OnlineStore
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

RETRIES = 3  # of a broken round trip; a pool that is made without a client has none


class Trips:
    """Counts round trips to Redis, and breaks some.

    :ivar made: how many were begun.
    :ivar to_break: how many of the next to break.
    """

    def __init__(self) -> None:
        self.made = 0
        self.to_break = 0

    def begin(self, connected: Any) -> None:
        """Count a round trip, and break it if it is to be broken.

        :param connected: its socket, if there is one yet.
        """
        self.made += 1
        if connected is not None and self.to_break:
            self.to_break -= 1
            connected.shutdown(socket.SHUT_RDWR)

    def of(self, read: Callable[[], Any]) -> int:
        """Return how many round trips a read takes."""
        before = self.made
        read()
        return self.made - before


class CountingConnection(redis.Connection):
    def __init__(self, *, trips: Trips, **settings: Any) -> None:
        self._trips = trips
        super().__init__(**settings)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._trips.begin(self._sock)
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class AsyncCountingConnection(redis.asyncio.Connection):
    def __init__(self, *, trips: Trips, **settings: Any) -> None:
        self._trips = trips
        super().__init__(**settings)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._trips.begin(self._writer and self._writer.get_extra_info("socket"))
        await super().send_packed_command(command, check_health)


class Awaited:
    """An :class:`AsyncOnlineStore` with the synchronous methods of an :class:`OnlineStore`."""

    def __init__(self, store: AsyncOnlineStore, runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self._runner.run(getattr(self._store, name)(*given, **named))


@contextmanager
def reading_store(url: str, trips: Trips, **options: Any) -> Iterator[OnlineStore]:
    """Yield a store whose client counts round trips."""
    pool = redis.ConnectionPool.from_url(
        url, connection_class=CountingConnection, trips=trips, retry=Retry(NoBackoff(), RETRIES)
    )
    with redis.Redis(connection_pool=pool) as client:
        yield OnlineStore(client, **options)
    pool.disconnect()


@contextmanager
def awaited_store(url: str, trips: Trips, **options: Any) -> Iterator[Any]:
    """Yield an asyncio store with synchronous methods, whose client counts round trips."""
    pool = redis.asyncio.ConnectionPool.from_url(
        url, connection_class=AsyncCountingConnection, trips=trips, retry=AsyncRetry(NoBackoff(), RETRIES)
    )
    with asyncio.Runner() as runner:
        store = Awaited(AsyncOnlineStore(redis.asyncio.Redis.from_pool(pool), **options), runner)
        yield store
        store.aclose()
