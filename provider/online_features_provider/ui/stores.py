"""The stores that the pages read, by connections of Airflow, with short time-outs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import redis
from airflow.models.connection import Connection
from airflow.providers.common.compat.sdk import conf
from online_features.offline.store import OfflineStore
from online_features.online.redis.clients import bounds
from online_features.online.redis.redis_failures import DRIVER_ERRORS, translation
from online_features.online.store import OnlineStore

from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook

# To connect, and for each reply. A page that waits occupies one of the forty threads of the API server.
STORE_SECONDS = 2

QUICK = {
    **bounds(redis, retries=0),
    "socket_timeout": float(STORE_SECONDS),
    "socket_connect_timeout": float(STORE_SECONDS),
}


def redis_conn_ids() -> tuple[str, ...]:
    """Return the connections whose views the pages show: ``[online_features] redis_conn_ids``."""
    listed = conf.get("online_features", "redis_conn_ids", fallback=OnlineStoreHook.default_conn_name)
    return tuple(dict.fromkeys(each.strip() for each in listed.split(",") if each.strip()))


@contextmanager
def online_store(conn_id: str) -> Iterator[OnlineStore]:
    """Yield a store, and close its connections.

    :raises OnlineAccessError: when the connection cannot be used as it is.
    :raises OnlineStoreUnavailableError: when no node of a cluster answers.
    """
    address = _OnlineStoreHook(conn_id).address()
    quick = replace(
        address, options={**address.options, **QUICK}, sentinel_options={**address.sentinel_options, **QUICK}
    )
    try:
        client = quick.client(redis)
    except DRIVER_ERRORS as failure:
        raise translation(failure, f"connection {conn_id!r}", tls=address.uses_tls) from failure
    with client:
        yield OnlineStore(client)


def offline_store(conn_id: str) -> OfflineStore:
    """Make a store.

    :raises OfflineAccessError: when the connection cannot be used as it is.
    """
    return _OfflineStoreHook(conn_id).get_store(statement_timeout=timedelta(seconds=STORE_SECONDS))


class _OfServer:
    """Look connections up as the API server does: Airflow's SDK finds those in the database only from tasks."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        return Connection.get_connection_from_secrets(conn_id)


class _OnlineStoreHook(_OfServer, OnlineStoreHook):
    pass


class _OfflineStoreHook(_OfServer, OfflineStoreHook):
    def _libpq_extra(self) -> dict[str, Any]:
        return {**super()._libpq_extra(), "connect_timeout": str(STORE_SECONDS)}
