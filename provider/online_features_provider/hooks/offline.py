"""The offline store behind an Airflow Postgres connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import psycopg2
from airflow.providers.postgres.hooks.postgres import PostgresHook
from online_features.errors import OfflineAccessError, OnlineFeaturesError
from online_features.offline.store import OfflineStore
from psycopg2.extensions import make_dsn

from online_features_provider.hooks.connections import checked, named


class OfflineStoreHook(PostgresHook):
    """A :class:`~online_features.OfflineStore` on Airflow's Postgres connection type, extras included.

    :param postgres_conn_id: of a connection of type ``postgres``; what its extra holds beside the Postgres hook's
        own settings is handed to libpq (``sslmode``, ``sslcert``, ``connect_timeout``, ``options``, …).
    """

    default_conn_name = "offline_store"

    def get_store(self, *, statement_timeout: timedelta | None = None) -> OfflineStore:
        """The store; it connects when it is first used.

        :param statement_timeout: how long each statement may take; ``None``: as the connection, or the server, says.
        :raises OfflineAccessError: when libpq does not understand the connection, naming the extra and the cure.
        """
        checked("Postgres", self.postgres_conn_id, lambda: self.connection)
        url = self.sqlalchemy_url
        parameters = {
            "host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database,
            **self._libpq_extra(),
        }  # fmt: skip
        given = {name: value for name, value in parameters.items() if value is not None}
        # Everything as a parameter, and percent-encoded: libpq takes a plus sign for itself.
        uri = f"postgresql://?{urlencode(given, quote_via=quote)}"
        return OfflineStore(uri, statement_timeout=statement_timeout)

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]  # whose own has no annotation
        """Whether Postgres answers, and what stands in the way."""
        try:
            self.get_store().ping()
        except OnlineFeaturesError as error:
            return False, str(named(error, postgres_conn_id=self.postgres_conn_id))
        return True, "Postgres answers"

    def _libpq_extra(self) -> dict[str, Any]:
        extra = self.connection.extra_dejson
        handed_on = {name: value for name, value in extra.items() if name not in self.ignored_extra_options}
        for name in handed_on:
            try:
                make_dsn(**{name: ""})
            except (psycopg2.ProgrammingError, TypeError):
                conn_id = self.connection.conn_id
                raise OfflineAccessError(
                    f"extra {name!r} of connection {conn_id!r} is no parameter of libpq -> correct or remove it"
                ) from None
        return handed_on
