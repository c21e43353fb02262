"""The online store behind an Airflow Redis connection."""

from __future__ import annotations

import inspect
from typing import Any

import redis
import redis.asyncio
from airflow.providers.redis.hooks.redis import RedisHook
from asgiref.sync import sync_to_async

from online_features.errors import OnlineAccessError
from online_features.online.async_store import AsyncOnlineStore
from online_features.online.store import OnlineStore

# These are not settings but parts of a client without asyncio; one on asyncio has its own.
SYNCHRONOUS_PARTS = frozenset({"retry", "redis_connect_func", "maint_notifications_config"})


class OnlineStoreHook(RedisHook):
    """An :class:`~online_features.OnlineStore` on Airflow's Redis connection type, extras included.

    :param redis_conn_id: of a connection of type ``redis``.
    """

    default_conn_name = "online_store"

    def get_store(self) -> OnlineStore:
        """The store; it connects when it is first used.

        :raises OnlineAccessError: when the connection's database is where Airflow's Redis hook does not look for it.
        """
        connection = self.get_connection(self.redis_conn_id)
        if connection.schema not in (None, "", "0") and "db" not in connection.extra_dejson:
            raise OnlineAccessError(
                f"connection {self.redis_conn_id!r}: Airflow passes over the database in a path "
                f"(/{connection.schema}) -> write ?db={connection.schema} instead, or the extra "
                f'{{"db": {connection.schema}}}'
            )
        client: redis.Redis = self.get_conn()  # type: ignore[no-untyped-call]
        return OnlineStore(client)

    async def aget_store(self) -> AsyncOnlineStore:
        """The same store on asyncio; the connection is looked up beside the loop, which does not wait for it.

        :raises OnlineAccessError: as :meth:`get_store` does.
        """
        await sync_to_async(self.get_store)()
        client: Any = self.redis
        return AsyncOnlineStore(_on_asyncio(client))


def _on_asyncio(client: redis.Redis) -> redis.asyncio.Redis:
    pool = client.connection_pool
    taken = inspect.signature(redis.asyncio.Redis).parameters.keys() - SYNCHRONOUS_PARTS
    settings = {name: value for name, value in pool.connection_kwargs.items() if name in taken}
    return redis.asyncio.Redis(**settings, ssl=issubclass(pool.connection_class, redis.SSLConnection))
