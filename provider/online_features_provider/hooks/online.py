"""The hook that makes an online store from an Airflow connection."""

from __future__ import annotations

from typing import Any

import redis.asyncio
from airflow.providers.redis.hooks.redis import RedisHook
from asgiref.sync import sync_to_async
from online_features.errors import OnlineFeaturesError
from online_features.online.async_store import AsyncOnlineStore
from online_features.online.redis.clients import uses_tls
from online_features.online.redis.redis_failures import DRIVER_ERRORS, refusal_ignored, translation
from online_features.online.store import OnlineStore

from online_features_provider.hooks.connections import look_up
from online_features_provider.hooks.redis_address import RedisAddress


class OnlineStoreHook(RedisHook):
    """Make an :class:`~online_features.OnlineStore` from an Airflow connection of type ``redis``.

    :param redis_conn_id: of the connection. Its extra may hold options of the Redis provider; ``cluster`` and
        ``startup_nodes``; or ``sentinels``, ``sentinel_master``, ``sentinel_username`` and ``sentinel_password``; and
        ``credential_provider``, which logs in without a password.
    """

    default_conn_name = "online_store"

    def __init__(self, redis_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(redis_conn_id, **kwargs)

    def get_conn(self) -> Any:
        """Return a client of redis-py.

        :raises OnlineAccessError: when the connection cannot be used as it is.
        :raises OnlineStoreUnavailableError: when no node of a cluster answers.
        """
        if self.redis is None:
            address = self.address()
            try:
                self.redis = address.client(redis)
            except DRIVER_ERRORS as failure:
                what = f"connection {self.redis_conn_id!r}"
                raise translation(failure, what, tls=address.uses_tls) from failure
        return self.redis

    def get_store(self) -> OnlineStore:
        """Make the store; it connects when it is first used.

        :raises OnlineAccessError: when the connection cannot be used as it is.
        """
        return OnlineStore(self.get_conn())

    async def aget_store(self) -> AsyncOnlineStore:
        """Make a store for asyncio, without blocking the event loop; the caller closes it.

        :raises OnlineAccessError: when the connection cannot be used as it is.
        """
        # In a thread: before 3.3.2, Airflow's asynchronous look-up blocks the event loop to mask secrets.
        client = await sync_to_async(lambda: self.address().client(redis.asyncio))()
        return AsyncOnlineStore(client)

    def address(self) -> RedisAddress:
        """Return the address in the connection.

        :raises OnlineAccessError: when it cannot be used as it is.
        """
        conn_id = self.redis_conn_id
        return RedisAddress.of(look_up("Redis", conn_id, lambda: self.get_connection(conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Return whether Redis replies, and the error if it does not."""
        try:
            # A refusal is an answer, too: PING is a right of its own.
            with self.get_conn() as client, refusal_ignored():
                client.ping()
        except OnlineFeaturesError as error:
            return False, str(error)
        except DRIVER_ERRORS as failure:
            what = f"connection {self.redis_conn_id!r}"
            return False, str(translation(failure, what, tls=uses_tls(self.redis)))
        return True, "Redis answers"
