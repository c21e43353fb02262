"""Limits how many readers and writers use a client at once, so that its connections suffice.

redis-py's pools raise at once when all of their connections are in use, and its blocking pools do not fit: the one for
threads holds a lock while it waits during maintenance of the server, and releasing a connection needs that lock. A
pipeline takes a connection of each node of a cluster, so two pipelines would block each other, and for clusters there
is no blocking pool on asyncio. So readers and writers wait before they take a connection.
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

# One turn per so many connections. Readers take one at a time; a writer may take two, one of them to read the state.
# Readers and writers have turns of their own: a producer's generator may read while its rows are pushed.
READERS_SHARE, WRITERS_SHARE = 2, 4

_readers: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
_writers: WeakKeyDictionary[Any, threading.Semaphore] = WeakKeyDictionary()
_tasks: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()


def _reset_after_fork() -> None:
    """Drop all turns in a forked process, which does not have the threads that held them."""
    _readers.clear()
    _writers.clear()


os.register_at_fork(after_in_child=_reset_after_fork)


@contextmanager
def turn(client: redis.Redis | redis.RedisCluster, *, writes: bool = False) -> Iterator[None]:
    """Wait until there are connections of the client for a reader or a writer.

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
        # A client of a cluster takes another connection to read the map of slots.
        share = 1 if isinstance(client, redis.asyncio.Redis) else READERS_SHARE
        turns = _tasks.setdefault(client, asyncio.Semaphore(_part(client, share)))
    if not turns.locked():
        await turns.acquire()  # returns at once; a timer would cost more
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
