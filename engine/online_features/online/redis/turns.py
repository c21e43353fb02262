"""Readers and writers take turns where there are more of them than connections.

Redis-py's own pools raise at once when all of their connections are in use, and its blocking pools do not fit. The one
for threads, while it waits during maintenance of the server, holds a lock that giving back needs. A pipeline takes a
connection of each node of a cluster, so two would wait for each other, and asyncio has none for clusters. So
whoever needs connections waits in front of the pool, holding nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio

from online_features.online.redis.redis_failures import NoConnectionFreeError

WAIT_SECONDS = 20.0  # what redis-py's blocking pools wait

# Of a client's connections. Readers take one at a time; a writer may take two, one of them to look at the state.
# Readers and writers do not wait for each other: what a producer pushes may come from a generator that reads.
READERS_SHARE, WRITERS_SHARE = 2, 4

_readers: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
_writers: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
_tasks: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()


def _forget() -> None:
    """Begin anew in a forked process, where nobody gives back the turns that other threads had."""
    _readers.clear()
    _writers.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def turn(client: redis.Redis | redis.RedisCluster, *, writes: bool = False) -> Iterator[None]:
    """Wait until there are connections of the client for a reader, or a writer.

    :raises NoConnectionFreeError: when there are none in time.
    """
    turns = (_writers if writes else _readers).get(client)
    if turns is None:
        share = WRITERS_SHARE if writes else READERS_SHARE
        turns = (_writers if writes else _readers).setdefault(client, threading.Semaphore(_part(client, share)))
    if not turns.acquire(timeout=WAIT_SECONDS):
        raise NoConnectionFreeError(_waited(client))
    try:
        yield
    finally:
        turns.release()


@asynccontextmanager
async def turn_async(client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> AsyncIterator[None]:
    """Wait until a connection of the client is free.

    :raises NoConnectionFreeError: when there is none in time.
    """
    turns = _tasks.get(client)
    if turns is None:
        # A client of a cluster takes a connection to ask for the nodes' slots, too.
        share = 1 if isinstance(client, redis.asyncio.Redis) else READERS_SHARE
        turns = _tasks.setdefault(client, asyncio.Semaphore(_part(client, share)))
    if not turns.locked():
        await turns.acquire()  # at once: a timer costs more than that
    else:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turns.acquire()
        except TimeoutError as error:
            raise NoConnectionFreeError(_waited(client)) from error
    try:
        yield
    finally:
        turns.release()


def connections(client: Any) -> int:
    """Return how many connections a client may make to a server, or to each node of a cluster."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        options = client.connection_kwargs if hasattr(client, "connection_kwargs") else client.get_connection_kwargs()
        pool = redis.ConnectionPool(max_connections=options.get("max_connections"))
    return int(pool.max_connections)


def _part(client: Any, share: int) -> int:
    return -(-connections(client) // share)


def _waited(client: Any) -> str:
    return f"of {connections(client)} connections at most, none was free for {WAIT_SECONDS:g} seconds"
