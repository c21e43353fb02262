"""The hook that makes an offline store from an Airflow connection."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import psycopg2
from airflow.providers.postgres.hooks.postgres import PostgresHook
from online_features.errors import OfflineAccessError, OnlineFeaturesError
from online_features.offline.store import OfflineStore
from psycopg2.extensions import make_dsn

from online_features_provider.hooks.connections import STORES, look_up, with_connection
from online_features_provider.hooks.identities import GoogleToken, google_token, needs

if TYPE_CHECKING:
    from airflow.sdk import Connection

# Whose token it is, by the extra that names the connection; else it is of AWS.
CLOUDS = {"gcp_conn_id": "google", "azure_conn_id": "azure"}


class OfflineStoreHook(PostgresHook):
    """Make an :class:`~online_features.OfflineStore` from an Airflow connection of type ``postgres``.

    :param postgres_conn_id: of the connection. Its extra may hold settings of the Postgres hook and parameters of libpq
        (``sslmode``, ``sslcert``, ``connect_timeout``, ``options``, …); and with ``iam`` also ``gcp_conn_id``.
    """

    default_conn_name = "offline_store"
    ignored_extra_options = PostgresHook.ignored_extra_options | {"gcp_conn_id"}

    def get_store(self, *, statement_timeout: timedelta | None = None) -> OfflineStore:
        """Make the store; it connects when it is first used.

        :param statement_timeout: how long each statement may take; by default the setting of connection or server.
        :raises OfflineAccessError: when libpq does not understand the connection, naming the extra and the cure.
        """
        look_up("Postgres", self.postgres_conn_id, lambda: self.connection)
        connection = self.connection
        credentials = self._credentials if connection.extra_dejson.get("iam") else None
        parameters = {
            "host": connection.host, "port": connection.port, "user": connection.login,
            "password": None if credentials else connection.password, "dbname": self.database or connection.schema,
            **self._libpq_extra(),
        }  # fmt: skip
        given = {name: value for name, value in parameters.items() if value is not None}
        # All as parameters, and percent-encoded: libpq does not decode a plus sign to a space.
        uri = f"postgresql://?{urlencode(given, quote_via=quote)}"
        return OfflineStore(uri, credentials=credentials, statement_timeout=statement_timeout)

    def get_iam_token(self, conn: Connection) -> tuple[str, str, int]:
        """Return user, token and port: a token of Google by ``gcp_conn_id``, else as Airflow's hook does."""
        if "gcp_conn_id" in conn.extra_dejson:
            return str(conn.login), self._google_token(), conn.port or STORES["Postgres"].port
        return super().get_iam_token(conn)

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]  # that of the base has no annotation
        """Return whether Postgres replies, and the error if it does not."""
        try:
            self.get_store().ping()
        except OnlineFeaturesError as error:
            return False, str(with_connection(error, postgres_conn_id=self.postgres_conn_id))
        return True, "Postgres answers"

    @cached_property
    def _google_token(self) -> GoogleToken:
        return google_token(self.connection.extra_dejson["gcp_conn_id"])

    def _credentials(self) -> tuple[str, str]:
        """Return user and password of one login."""
        extra = self.connection.extra_dejson
        cloud = next((cloud for name, cloud in CLOUDS.items() if name in extra), "aws")
        with needs(cloud, "for iam"):
            if cloud == "azure":
                import airflow.providers.microsoft.azure.hooks.base_azure  # noqa: F401 - missing, Airflow would not say so
            user, password, _ = self.get_iam_token(self.connection)
        return user, password

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
