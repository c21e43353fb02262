"""Stores by the ids of Airflow connections, for the command ``online-features``; its entry points lead here."""

from __future__ import annotations

import os
from typing import Any

from online_features.offline.store import OfflineStore

# Otherwise Airflow does not look into its own database, but only into the environment and secrets backends.
CONTEXT_VARIABLE, WITH_DATABASE = "_AIRFLOW_PROCESS_CONTEXT", "server"


def redis_client(conn_id: str) -> Any:
    """Return a client of redis-py for an Airflow connection.

    :raises OnlineAccessError: when there is no such connection, or it cannot be used.
    """
    os.environ.setdefault(CONTEXT_VARIABLE, WITH_DATABASE)
    from online_features_provider.hooks.online import OnlineStoreHook

    return OnlineStoreHook(conn_id).get_conn()


def offline_store(conn_id: str) -> OfflineStore:
    """Return the offline store of an Airflow connection.

    :raises OfflineAccessError: when there is no such connection, or it cannot be used.
    """
    os.environ.setdefault(CONTEXT_VARIABLE, WITH_DATABASE)
    from online_features_provider.hooks.offline import OfflineStoreHook

    return OfflineStoreHook(conn_id).get_store()
