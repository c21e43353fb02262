"""The offline store behind an Airflow Postgres connection."""

from __future__ import annotations

from airflow.providers.postgres.hooks.postgres import PostgresHook

from online_features.offline.store import OfflineStore


class OfflineStoreHook(PostgresHook):
    """A :class:`~online_features.OfflineStore` on Airflow's Postgres connection type, extras included.

    :param postgres_conn_id: of a connection of type ``postgres``; what its extra holds beside the Postgres hook's
        own settings is handed to libpq (``sslmode``, ``sslcert``, ``connect_timeout``, ``options``, …).
    """

    default_conn_name = "offline_store"

    def get_store(self) -> OfflineStore:
        """The store; it connects when it is first used."""
        extra = self.connection.extra_dejson
        parameters = {name: str(value) for name, value in extra.items() if name not in self.ignored_extra_options}
        url = self.sqlalchemy_url.set(drivername="postgresql", query=parameters)
        return OfflineStore(url.render_as_string(hide_password=False))
