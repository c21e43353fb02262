"""Stores to read by, without and with asyncio, on connections that count round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from online_features import AsyncOnlineStore, OnlineStore


class Trips:
    """Round trips to Redis: how often something was sent."""

    def __init__(self) -> None:
        self.made = 0

    def of(self, read: Callable[[], Any]) -> int:
        """How many the reading takes."""
        before = self.made
        read()
        return self.made - before


class CountingConnection(redis.Connection):
    def __init__(self, *, trips: Trips, **settings: Any) -> None:
        self._trips = trips
        super().__init__(**settings)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._trips.made += 1
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class AsyncCountingConnection(redis.asyncio.Connection):
    def __init__(self, *, trips: Trips, **settings: Any) -> None:
        self._trips = trips
        super().__init__(**settings)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._trips.made += 1
        await super().send_packed_command(command, check_health)


class Awaited:
    """An :class:`AsyncOnlineStore` whose methods are called as those of an :class:`OnlineStore` are."""

    def __init__(self, store: AsyncOnlineStore, runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self._runner.run(getattr(self._store, name)(*given, **named))


@contextmanager
def reading_store(url: str, trips: Trips) -> Iterator[OnlineStore]:
    """A store, used by one thread."""
    pool = redis.ConnectionPool.from_url(url, connection_class=CountingConnection, trips=trips)
    with redis.Redis(connection_pool=pool) as client:
        yield OnlineStore(client)
    pool.disconnect()


@contextmanager
def awaited_store(url: str, trips: Trips) -> Iterator[Any]:
    """A store on asyncio, called from outside of it."""
    pool = redis.asyncio.ConnectionPool.from_url(url, connection_class=AsyncCountingConnection, trips=trips)
    with asyncio.Runner() as runner:
        store = Awaited(AsyncOnlineStore(redis.asyncio.Redis.from_pool(pool)), runner)
        yield store
        store.aclose()
