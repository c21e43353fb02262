"""Stores by the ids of Airflow connections, for the command ``online-features``; its entry points lead here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from online_features.errors import OfflineAccessError, OnlineAccessError
from online_features.offline.store import OfflineStore

# Otherwise Airflow does not look into its own database, but only into the environment and secrets backends.
CONTEXT_VARIABLE, WITH_DATABASE = "_AIRFLOW_PROCESS_CONTEXT", "server"

SUPERVISOR = "SUPERVISOR_COMMS"  # of a task, which Airflow 3.1 asks where it finds a connection nowhere else


def redis_client(conn_id: str) -> Any:
    """Return a client of redis-py for an Airflow connection.

    :raises OnlineAccessError: when there is no such connection, or it cannot be used.
    """
    with _outside_of_tasks(conn_id, OnlineAccessError):
        from online_features_provider.hooks.online import OnlineStoreHook

        return OnlineStoreHook(conn_id).get_conn()


def offline_store(conn_id: str) -> OfflineStore:
    """Return the offline store of an Airflow connection.

    :raises OfflineAccessError: when there is no such connection, or it cannot be used.
    """
    with _outside_of_tasks(conn_id, OfflineAccessError):
        from online_features_provider.hooks.offline import OfflineStoreHook

        return OfflineStoreHook(conn_id).get_store()


@contextmanager
def _outside_of_tasks(conn_id: str, refused: type[OnlineAccessError | OfflineAccessError]) -> Iterator[None]:
    """Let Airflow find connections where no task runs.

    :param refused: the error when there is no such connection.
    """
    os.environ.setdefault(CONTEXT_VARIABLE, WITH_DATABASE)
    try:
        yield
    except ImportError as error:
        if SUPERVISOR not in str(error):
            raise
        raise refused(
            f"connection {conn_id!r} is not defined in Airflow's environment and secrets backends, the only places "
            f"where Airflow 3.1 looks outside of tasks -> set AIRFLOW_CONN_{conn_id.upper()}, or give the address of "
            "the server"
        ) from error
