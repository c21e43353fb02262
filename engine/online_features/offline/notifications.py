"""SQL that makes Postgres notify when a table has changed: a trigger on the table, and a session of ours that listens.

One channel serves all tables of a database and names the one that has changed, so one session listens for all views.
"""

from __future__ import annotations

import hashlib

from online_features.errors import FeatureViewError
from online_features.extras import needs_materialize
from online_features.feature_view import FeatureView

CHANNEL = "online_features"
TRIGGER = "online_features_notify"

LONGEST_NAME = 63  # bytes; Postgres cuts off the rest


def notification_sql(source: FeatureView | str) -> str:
    """Return SQL to run once, as a role that may create triggers on the table and functions in its schema.

    :param source: a view that is read from a table; or a table, as in :class:`~online_features.PostgresSource`.
    :raises FeatureViewError: when the view is read from a query.
    """
    return _rendered("notify", watched_table(source))


def drop_notification_sql(source: FeatureView | str) -> str:
    """Return SQL that undoes :func:`notification_sql`."""
    return _rendered("unnotify", watched_table(source))


def watched_table(source: FeatureView | str) -> str:
    """Return the table to watch for changes of the view.

    :raises FeatureViewError: when the view is read from a query, which may read any table.
    """
    if isinstance(source, str):
        return source
    if source.source.table is None:
        raise FeatureViewError(
            f"feature view {source.name!r} is read from a query, so the table to watch is not known "
            "-> name each table that the query reads"
        )
    return source.source.table


def is_among(changed: frozenset[str], table: str) -> bool:
    """Return whether the table is among the changed ones; a name without a schema matches any schema."""
    return table in changed or ("." not in table and any(name.split(".", 1)[1] == table for name in changed))


def quoted(table: str) -> str:
    """Quote the name of the table for SQL."""
    from psycopg import sql

    return sql.Identifier(*table.split(".", 1)).as_string()


def _rendered(name: str, table: str) -> str:
    # Imported here: DAG files that watch a table need no SQL.
    with needs_materialize("for notification SQL"):
        from psycopg import sql

        from online_features.offline.postgres import sql_files

    *schema, bare_table = table.split(".", 1)
    return sql.SQL(sql_files.text(name)).format(
        table=sql.Identifier(*schema, bare_table),
        function=sql.Identifier(*schema, _function(bare_table)),
        trigger=sql.Identifier(TRIGGER),
        channel=sql.Literal(CHANNEL),
    ).as_string()  # fmt: skip


def _function(table: str) -> str:
    """Return the name of the trigger's function: one for each table, so that its owner may replace and drop it."""
    name = f"{TRIGGER}_{table}"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{TRIGGER}_{hashlib.sha256(table.encode()).hexdigest()[:32]}"
