"""Where Airflow's connections lead: hosts, ports and names, without logins, for assets and OpenLineage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from online_features.feature_view import FeatureView

if TYPE_CHECKING:
    from airflow.sdk import Asset, Connection

POSTGRES_PORT = 5432
DEFAULT_SCHEMA = "public"  # of a table without a schema, as with the default search_path


@dataclass(frozen=True, kw_only=True)
class DatasetLocation:
    """A table of Postgres, or a feature view in Redis.

    :param scheme: ``postgres`` or ``redis``.
    :param host: without a login; ``localhost`` also for a socket.
    :param names: database, schema and table; or database and view, after the name of the Sentinels' primary if any.
    """

    scheme: str
    host: str
    port: int
    names: tuple[str, ...]

    @property
    def namespace(self) -> str:
        """OpenLineage's name of the server."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """OpenLineage's name of the dataset."""
        return ".".join(self.names)

    @property
    def asset(self) -> Asset:
        """The asset with the URI that the provider of the server defines."""
        from airflow.sdk import Asset

        return Asset(uri="/".join((self.namespace, *(quote(name, safe="") for name in self.names))))


def source_location(connection: Connection, view: FeatureView) -> DatasetLocation | None:
    """Return the table that the view reads; ``None`` for a query, which may read any table."""
    if view.source.table is None:
        return None
    first, dot, rest = view.source.table.partition(".")
    schema, table = (first, rest) if dot else (DEFAULT_SCHEMA, first)
    extra = connection.extra_dejson
    database = extra.get("dbname") or connection.schema or connection.login or "postgres"
    host, port = _postgres_address(connection, extra)
    return DatasetLocation(scheme="postgres", host=host, port=port, names=(database, schema, table))


def online_location(connection: Connection, view: FeatureView) -> DatasetLocation:
    """Return the view in Redis, at the first of its nodes or Sentinels.

    :raises OnlineAccessError: when the connection cannot be used.
    """
    # Imported here: it loads redis-py.
    from online_features_provider.hooks.redis_address import RedisAddress

    address = RedisAddress.of(connection)
    # The first by name: the same nodes in another order are the same Redis.
    host, port = min(address.nodes)
    primary = (address.primary,) if address.kind == "sentinels" else ()
    names = (*primary, str(address.options.get("db", 0)), f"{view.project}:{view.name}")
    return DatasetLocation(scheme="redis", host=_in_brackets(host), port=port, names=names)


def _postgres_address(connection: Connection, extra: dict[str, Any]) -> tuple[str, int]:
    """Return the first host and its port."""
    host, port = (
        str(extra.get(part) or getattr(connection, part) or "").partition(",")[0] for part in ("host", "port")
    )
    if not host or host.startswith("/"):
        host = "localhost"
    return _in_brackets(host), int(port or POSTGRES_PORT)


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host
