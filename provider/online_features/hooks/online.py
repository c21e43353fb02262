"""The online store behind an Airflow Redis connection."""

from __future__ import annotations

import redis
from airflow.providers.redis.hooks.redis import RedisHook

from online_features.online.store import OnlineStore


class OnlineStoreHook(RedisHook):
    """An :class:`~online_features.OnlineStore` on Airflow's Redis connection type, extras included.

    :param redis_conn_id: of a connection of type ``redis``.
    """

    default_conn_name = "online_store"

    def get_store(self) -> OnlineStore:
        """The store; it connects when it is first used."""
        client: redis.Redis = self.get_conn()  # type: ignore[no-untyped-call]
        return OnlineStore(client)
