"""The hook that makes an offline store from an Airflow connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import psycopg2
from airflow.providers.postgres.hooks.postgres import PostgresHook
from online_features.errors import OfflineAccessError, OnlineFeaturesError
from online_features.offline.store import OfflineStore
from psycopg2.extensions import make_dsn

from online_features_provider.hooks.connections import look_up, with_connection


class OfflineStoreHook(PostgresHook):
    """Make an :class:`~online_features.OfflineStore` from an Airflow connection of type ``postgres``.

    :param postgres_conn_id: of the connection. Its extra may hold settings of the Postgres hook and parameters of libpq
        (``sslmode``, ``sslcert``, ``connect_timeout``, ``options``, …).
    """

    default_conn_name = "offline_store"

    def get_store(self, *, statement_timeout: timedelta | None = None) -> OfflineStore:
        """Make the store; it connects when it is first used.

        :param statement_timeout: how long each statement may take; by default the setting of connection or server.
        :raises OfflineAccessError: when libpq does not understand the connection, naming the extra and the cure.
        """
        look_up("Postgres", self.postgres_conn_id, lambda: self.connection)
        url = self.sqlalchemy_url
        parameters = {
            "host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database,
            **self._libpq_extra(),
        }  # fmt: skip
        given = {name: value for name, value in parameters.items() if value is not None}
        # All as parameters, and percent-encoded: libpq does not decode a plus sign to a space.
        uri = f"postgresql://?{urlencode(given, quote_via=quote)}"
        return OfflineStore(uri, statement_timeout=statement_timeout)

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]  # that of the base has no annotation
        """Return whether Postgres replies, and the error if it does not."""
        try:
            self.get_store().ping()
        except OnlineFeaturesError as error:
            return False, str(with_connection(error, postgres_conn_id=self.postgres_conn_id))
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
                    f"extra {name!r} of connection {conn_id!r} is not a parameter of libpq -> correct or remove it"
                ) from None
        return handed_on
