"""The online store behind an Airflow Redis connection."""

from __future__ import annotations

import redis
from airflow.providers.redis.hooks.redis import RedisHook

from online_features.errors import OnlineAccessError
from online_features.online.store import OnlineStore


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
