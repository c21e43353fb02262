"""The offline store behind an Airflow Postgres connection."""

from __future__ import annotations

from urllib.parse import quote, urlencode

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
        url = self.sqlalchemy_url
        parameters = {
            "host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database,
            **{name: value for name, value in self.connection.extra_dejson.items()
               if name not in self.ignored_extra_options},
        }  # fmt: skip
        given = {name: value for name, value in parameters.items() if value is not None}
        # Everything as a parameter, and percent-encoded: libpq takes a plus sign for itself.
        return OfflineStore(f"postgresql://?{urlencode(given, quote_via=quote)}")
